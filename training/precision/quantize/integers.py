"""Precisions of CPUs, of one member: bfloat16 gated, and its variant in 8-bit integers made and gated.

The one file of `models quantize` that needs OpenVINO and nncf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cxrserve.bundle.contract import Member, Variant
from cxrserve.engines.base import ActualPrecision
from cxrserve.engines.openvino import OpenVinoEngine, computes_bf16, computes_int8
from cxrserve.errors import EngineError
from cxrserve.settings import Settings
from training.precision.bf16 import MAX_GATE_IMAGES, gated
from training.precision.gate import ROUNDED, Answers, Limits, answers, measure, speed, why_refused
from training.precision.quantize.ensemble import Judged
from training.precision.quantize.images import CALIBRATE, Part
from training.precision.quantize.int8_graph import convolutions, quantised

OnCpu = Literal["bf16", "int8", "mixed"]
_Variant = Literal["int8", "mixed"]
# Shares of the convolutions that `mixed` keeps at each end of the network, in the order of trial: what goes
# wrong early is carried by all that follows, what goes wrong late reaches the answer undiminished.
KEPT_SHARES: Final = (0.0, 1 / 8, 1 / 4)


def check_able(precision: OnCpu) -> None:
    """Check that this CPU computes in `precision`: its gate is measured where it will serve.

    Raises:
        EngineError: it does not.
    """
    able, needs = (
        (computes_bf16(), "for bfloat16 (AMX-BF16, AVX-512 BF16)")
        if precision == "bf16"
        else (computes_int8(), "for 8-bit integers (VNNI, AMX-INT8)")
    )
    if not able:
        raise EngineError(
            f"this CPU has no instructions {needs}: the gate has to be measured where it will serve"
        )


class Quantizer:
    """Gates bfloat16 of one member, and makes its variant in integers."""

    def __init__(
        self,
        member: Member,
        model: bytes,
        calibrating: Part,
        checking: Part,
        settings: Settings,
        limits: Limits,
        folder: Path,
    ) -> None:
        self._member, self._model, self._size = member, model, member.size
        self._calibrating, self._checking = calibrating, checking
        self._settings, self._limits, self._folder = settings, limits, folder
        self._exact_NF = self._served_NF = np.empty((0, 0), np.float32)

    def make(self, requested: OnCpu, console: Console) -> Member:
        """The member with bfloat16 gated and its variant, or with the reasons why it has none."""
        judges = self._checking.thinned(MAX_GATE_IMAGES)
        self._member = gated(
            self._member, self._model, judges.images(self._size), judges.labels_NF, judges.description
        )
        if requested == "bf16":
            return self._member
        labels_NF = self._checking.labels_NF
        expected = self._answers(self._engine(self._model, "f32"))
        self._exact_NF = self._served_NF = expected.logits_NF
        rest: ActualPrecision = "bf16" if self._member.bf16 else "f32"
        served = self._engine(self._model, rest)
        refused = {name: why for name, why in self._member.refused.items() if name in ROUNDED}
        for precision, keep in self._attempts(requested):
            console.print(f"{self._size}: {precision}, {len(keep)} layers kept", highlight=False)
            model = quantised(self._model, self._images(), keep)
            engine = self._engine(model, rest, precision)
            actual = self._answers(engine)
            gate = measure(
                expected,
                actual,
                labels_NF,
                self._limits,
                known=self._member.supported,
                faster=speed(served, engine, self._checking.images(self._size)[0]),
                data=self._checking.description,
                engine=f"openvino, against f32; {rest} beside int8",
            )
            why = why_refused(gate, self._limits)
            if why is None:
                self._served_NF = actual.logits_NF
                name = f"scale_{self._size}.{precision}.onnx"
                (self._folder / name).write_bytes(model)
                variant = Variant(
                    precision=precision, file=name, sha256=hashlib.sha256(model).hexdigest(), gate=gate
                )
                return self._with((variant,), refused)
            refused[precision] = f"{why} ({len(keep)} layers kept; {self._checking.description})"
            console.print(f"  refused: {why}", highlight=False)
        return self._with((), refused)

    def judged(self, member: Member) -> Judged:
        """The result of `make` with its logits, for the ensemble's gate."""
        return Judged(member=member, exact_NF=self._exact_NF, served_NF=self._served_NF)

    def _with(self, new_variants: tuple[Variant, ...], refused: dict[str, str]) -> Member:
        remaining = [variant for variant in self._member.variants if variant.precision == "fp16"]
        variants = tuple(sorted((*remaining, *new_variants), key=lambda variant: variant.precision))
        return self._member.model_copy(update={"variants": variants, "refused": refused})

    def _attempts(self, requested: OnCpu) -> list[tuple[_Variant, Sequence[str]]]:
        attempts: list[tuple[_Variant, Sequence[str]]] = [("int8", ())]
        if requested == "mixed":
            layers = convolutions(self._model)
            ends = sorted({max(1, round(share * len(layers))) for share in KEPT_SHARES})
            attempts += [("mixed", (*layers[:count], *layers[-count:])) for count in ends]
        return attempts

    def _engine(
        self, model: bytes, precision: ActualPrecision, variant: _Variant | None = None
    ) -> OpenVinoEngine:
        return OpenVinoEngine(
            model,
            size=self._size,
            precision=precision,
            threads=self._settings.threads,
            variant=variant,
        )

    def _answers(self, engine: OpenVinoEngine) -> Answers:
        return answers(engine, self._checking.images(self._size))

    def _images(self) -> list[NDArray[np.uint8]]:
        return self._calibrating.thinned(CALIBRATE).images(self._size)
