"""A bundle's members in fewer digits: bfloat16 measured, variants in 8-bit integers or float16 made.

The contract says which passed the gate, and why others did not.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cxrserve.bundle.contract import Member, Variant, load_bundle, write_contract
from cxrserve.engines.base import ActualPrecision
from cxrserve.engines.openvino import OpenVinoEngine, computes_bf16, computes_int8
from cxrserve.errors import EngineError, RequestError
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.settings import Settings
from training.precision.bf16 import MAX_GATE_IMAGES, gated
from training.precision.fp16 import halved
from training.precision.gate import Answers, Limits, answers, measure, speed, why_refused
from training.precision.quantize.ensemble import Judged, admitted
from training.precision.quantize.images import CALIBRATE, HALVES, Part, drawn, films_of, labelled_of
from training.precision.quantize.int8_graph import convolutions, quantised

Requested = Literal["bf16", "fp16", "int8", "mixed"]
_Variant = Literal["int8", "mixed"]
# Shares of the convolutions that `mixed` keeps at each end of the network, in the order of trial: what goes
# wrong early is carried by all that follows, what goes wrong late reaches the answer undiminished.
KEPT_SHARES: Final = (0.0, 1 / 8, 1 / 4)
# Both are other roundings of the same weights: there is nothing to calibrate.
ROUNDED: Final = ("bf16", "fp16")


def quantize_bundle(
    bundle: Path,
    *,
    paths: Sequence[Path],
    phantoms: int,
    seed: int,
    labelled: str | None,
    precision: Requested,
    limits: Limits,
) -> None:
    """See `training.cli.quantize`.

    Raises:
        RequestError: the films or labels cannot be used.
        EngineError: this CPU does not compute in what was asked for.
    """
    only_judged = precision in ROUNDED and labelled
    if not only_judged and bool(paths) == bool(phantoms):
        raise RequestError("give films, or --phantoms with their number: one of the two.")
    _check_able(precision)
    console = Console(stderr=True)
    settings = Settings(bundle=bundle)
    loaded = load_bundle(bundle)
    contract = loaded.contract
    with tempfile.TemporaryDirectory(prefix="cxrserve-quantize-") as work:
        calibrating, checking = _parts(
            paths, phantoms, seed, labelled, precision, contract.preprocessing, Path(work), console
        )
        makers = [
            Quantizer(member, loaded.models[member.size], calibrating, checking, settings, limits, bundle)
            for member in contract.members
        ]
        members = tuple(maker.make(precision, console) for maker in makers)
        if precision not in ROUNDED:
            passed, fall = admitted(
                [maker.judged(member) for maker, member in zip(makers, members, strict=True)],
                np.array(contract.stack),
                checking.labels_NF,
                limits,
                bundle,
                checking.description,
            )
            members = tuple(passed)
            if fall is not None:
                console.print(f"the ensemble's mean AUC falls by {fall:.4f}", highlight=False)
    if precision in ROUNDED:
        write_contract(bundle, contract.model_copy(update={"members": members}))
        _remove_others(bundle, contract.members, members)
        _show(members, Console())
        return
    write_contract(bundle, contract.model_copy(update={"members": members, "triage": None}))
    _remove_others(bundle, contract.members, members)
    _show(members, Console())
    if contract.triage is not None:
        console.print("The triage calibration was removed; calibrate again with `cxrserve models triage`.")


def _check_able(precision: Requested) -> None:
    """float16 serves on GPUs, and any CPU measures what it changes; the others serve where they are made."""
    if precision == "fp16":
        return
    able, needs = (
        (computes_bf16(), "for bfloat16 (AMX-BF16, AVX-512 BF16)")
        if precision == "bf16"
        else (computes_int8(), "for 8-bit integers (VNNI, AMX-INT8)")
    )
    if not able:
        raise EngineError(
            f"this CPU has no instructions {needs}: the gate has to be measured where it will serve"
        )


def _parts(
    paths: Sequence[Path],
    phantoms: int,
    seed: int,
    labelled: str | None,
    precision: Requested,
    preprocessing: Preprocessing,
    work: Path,
    console: Console,
) -> tuple[Part, Part]:
    """The images that calibrate, and those that judge; roundings have nothing to calibrate."""
    judging = labelled_of(labelled, preprocessing, work, console) if labelled else None
    if precision in ROUNDED and judging:
        return judging, judging
    unlabelled = (
        films_of(paths, preprocessing, work, console)
        if paths
        else drawn(phantoms, seed, preprocessing, work, console)
    )
    if judging or precision in ROUNDED:
        return unlabelled, judging or unlabelled
    return unlabelled.parted()


class Quantizer:
    """Measures and makes the precisions of one member."""

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

    def make(self, requested: Requested, console: Console) -> Member:
        """The member with bfloat16 gated and its variant, or with the reasons why it has none."""
        if requested == "fp16":
            judges = self._checking.thinned(HALVES)
            images = np.stack(judges.images(self._size))
            return halved(
                self._folder, self._member, self._model, images, judges.description, judges.labels_NF
            )
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

    def _attempts(self, requested: Requested) -> list[tuple[_Variant, Sequence[str]]]:
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


def _remove_others(folder: Path, before: Sequence[Member], after: Sequence[Member]) -> None:
    """Files of variants that the new contract does not name."""
    current = {variant.file for member in after for variant in member.variants}
    for member in before:
        for variant in member.variants:
            if variant.file not in current:
                (folder / variant.file).unlink(missing_ok=True)


def _show(members: Sequence[Member], console: Console) -> None:
    table = Table(header_style="dim")
    for heading in ("size", "precision", "faster", "probability", "maps", "mean AUC falls", "why"):
        table.add_column(heading, justify="left" if heading in ("precision", "why") else "right")
    for member in members:
        gates = {"bf16": member.bf16} if member.bf16 else {}
        gates |= {variant.precision: variant.gate for variant in member.variants}
        for precision, gate in gates.items():
            table.add_row(
                str(member.size),
                precision,
                "" if gate.speed is None else f"{gate.speed:.2f}×",
                f"{gate.probability:.4f}",
                f"{gate.maps:.2f} σ",
                "not measured" if gate.mean_auc is None else f"{gate.mean_auc:.4f}",
                "",
            )
        for precision, why in member.refused.items():
            table.add_row(str(member.size), f"no {precision}", "", "", "", "", why)
    console.print(table)
