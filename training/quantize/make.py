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

from cxrserve.engines.base import ActualPrecision
from cxrserve.engines.openvino import OpenVinoEngine, computes_bf16, computes_int8
from cxrserve.ensemble.bundle import Member, Variant, load_bundle, write_contract
from cxrserve.errors import EngineError, RequestError
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.settings import Settings
from training.bf16 import MOST, gated
from training.gate import Answers, Limits, answers, measure, speed, why_refused
from training.half import halved
from training.quantize.graph import convolutions, quantised
from training.quantize.images import Part, drawn, films_of, labelled_of

Asked = Literal["bf16", "fp16", "int8", "mixed"]
_Variant = Literal["int8", "mixed"]
# Shares of the convolutions that `mixed` keeps at each end of the network, in the order of trial: what goes
# wrong early is carried by all that follows, what goes wrong late reaches the answer undiminished.
KEPT_SHARES: Final = (0.0, 1 / 8, 1 / 4)
# Both are other roundings of the same weights: there is nothing to calibrate.
ROUNDED: Final = ("bf16", "fp16")
# Images that judge float16 on ONNX Runtime, where a CPU takes seconds for one of 2048.
HALVES: Final = 64
# Images that calibrate; more take longer and say the same.
CALIBRATE: Final = 64


def quantize_bundle(
    bundle: Path,
    *,
    films: Sequence[Path],
    phantoms: int,
    seed: int,
    labelled: str | None,
    precision: Asked,
    limits: Limits,
) -> None:
    """See `training.cli.quantize`.

    Raises:
        RequestError: the films or labels cannot be used.
        EngineError: this CPU does not compute in what was asked for.
    """
    only_judged = precision in ROUNDED and labelled
    if not only_judged and bool(films) == bool(phantoms):
        raise RequestError("give films, or --phantoms with their number: one of the two.")
    _check_able(precision)
    console = Console(stderr=True)
    settings = Settings(bundle=bundle)
    loaded = load_bundle(bundle)
    contract = loaded.contract
    with tempfile.TemporaryDirectory(prefix="cxrserve-quantize-") as work:
        calibrating, checking = _parts(
            films, phantoms, seed, labelled, precision, contract.preprocessing, Path(work), console
        )
        makers = [
            Quantizer(member, loaded.models[member.size], calibrating, checking, settings, limits, bundle)
            for member in contract.members
        ]
        members = tuple(maker.make(precision, console) for maker in makers)
    if precision in ROUNDED:
        write_contract(bundle, contract.model_copy(update={"members": members}))
        _remove_others(bundle, contract.members, members)
        _show(members, Console())
        return
    write_contract(bundle, contract.model_copy(update={"members": members, "triage": None}))
    _remove_others(bundle, contract.members, members)
    _show(members, Console())
    if contract.triage is not None:
        console.print("Early decisions were taken out: calibrate them anew with `cxrserve models triage`.")


def _check_able(precision: Asked) -> None:
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
    films: Sequence[Path],
    phantoms: int,
    seed: int,
    labelled: str | None,
    precision: Asked,
    preprocessing: Preprocessing,
    work: Path,
    console: Console,
) -> tuple[Part, Part]:
    """The images that calibrate, and those that judge; roundings have nothing to calibrate."""
    judging = labelled_of(labelled, preprocessing, work, console) if labelled else None
    if precision in ROUNDED and judging:
        return judging, judging
    given = (
        films_of(films, preprocessing, work, console)
        if films
        else drawn(phantoms, seed, preprocessing, work, console)
    )
    if judging or precision in ROUNDED:
        return given, judging or given
    return given.parted()


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

    def make(self, asked: Asked, console: Console) -> Member:
        """The member with bfloat16 gated and its variant, or with the reasons why it has none."""
        if asked == "fp16":
            judges = self._checking.thinned(HALVES)
            images = np.stack(judges.images(self._size))
            return halved(self._folder, self._member, self._model, images, judges.words, judges.labels_NF)
        judges = self._checking.thinned(MOST)
        self._member = gated(
            self._member, self._model, judges.images(self._size), judges.labels_NF, judges.words
        )
        if asked == "bf16":
            return self._member
        labels_NF = self._checking.labels_NF
        expected = self._answers(self._engine(self._model, "f32"))
        rest: ActualPrecision = "bf16" if self._member.bf16 else "f32"
        served = self._engine(self._model, rest)
        refused = {name: why for name, why in self._member.refused.items() if name in ROUNDED}
        for precision, keep in self._attempts(asked):
            console.print(f"{self._size}: {precision}, {len(keep)} layers kept", highlight=False)
            model = quantised(self._model, self._images(), keep)
            engine = self._engine(model, rest, precision)
            gate = measure(
                expected,
                self._answers(engine),
                labels_NF,
                self._limits,
                known=self._member.known,
                faster=speed(served, engine, self._checking.images(self._size)[0]),
                data=self._checking.words,
                engine=f"openvino, against f32; {rest} beside int8",
            )
            why = why_refused(gate, self._limits)
            if why is None:
                name = f"scale_{self._size}.{precision}.onnx"
                (self._folder / name).write_bytes(model)
                variant = Variant(
                    precision=precision, file=name, sha256=hashlib.sha256(model).hexdigest(), gate=gate
                )
                return self._with((variant,), refused)
            refused[precision] = f"{why} ({len(keep)} layers kept; {self._checking.words})"
            console.print(f"  refused: {why}", highlight=False)
        return self._with((), refused)

    def _with(self, made: tuple[Variant, ...], refused: dict[str, str]) -> Member:
        others = [variant for variant in self._member.variants if variant.precision == "fp16"]
        variants = tuple(sorted((*others, *made), key=lambda variant: variant.precision))
        return self._member.model_copy(update={"variants": variants, "refused": refused})

    def _attempts(self, asked: Asked) -> list[tuple[_Variant, Sequence[str]]]:
        attempts: list[tuple[_Variant, Sequence[str]]] = [("int8", ())]
        if asked == "mixed":
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
    kept = {variant.file for member in after for variant in member.variants}
    for member in before:
        for variant in member.variants:
            if variant.file not in kept:
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
