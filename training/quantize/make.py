"""Variants of a bundle's members in 8-bit integers; the contract says which passed, and why others not."""

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
from cxrserve.engines.openvino import OpenVinoEngine, computes_int8
from cxrserve.engines.select import choose
from cxrserve.ensemble.bundle import Member, Variant, load_bundle, write_contract
from cxrserve.errors import EngineError, RequestError
from cxrserve.findings import NAMES
from cxrserve.settings import Settings
from training.quantize.gate import Answers, Limits, answers, measure, speed, why_refused
from training.quantize.graph import convolutions, quantised
from training.quantize.images import Part, drawn, films_of, labelled_of

Asked = Literal["int8", "mixed"]
# Shares of the convolutions that `mixed` keeps at each end of the network, in the order of trial: what goes
# wrong early is carried by all that follows, what goes wrong late reaches the answer undiminished.
KEPT_SHARES: Final = (0.0, 1 / 8, 1 / 4)
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
        EngineError: this CPU does not compute in int8.
    """
    if bool(films) == bool(phantoms):
        raise RequestError("give films, or --phantoms with their number: one of the two.")
    if not computes_int8():
        raise EngineError(
            "this CPU has no instructions for 8-bit integers (VNNI, AMX-INT8): the gate has to be measured "
            "where variants will serve"
        )
    console = Console(stderr=True)
    settings = Settings(bundle=bundle)
    loaded = load_bundle(bundle)
    contract = loaded.contract
    with tempfile.TemporaryDirectory(prefix="cxrserve-quantize-") as work:
        given = (
            films_of(films, contract.preprocessing, Path(work), console)
            if films
            else drawn(phantoms, seed, contract.preprocessing, Path(work), console)
        )
        calibrating, checking = given.parted()
        if labelled:
            checking = labelled_of(labelled, contract.preprocessing, Path(work), console)
            calibrating = given
        makers = [
            Quantizer(member, loaded.models[member.size], calibrating, checking, settings, limits, bundle)
            for member in contract.members
        ]
        members = tuple(maker.make(precision, console) for maker in makers)
    write_contract(bundle, contract.model_copy(update={"members": members, "triage": None}))
    _remove_others(bundle, contract.members, members)
    _show(members, Console())
    if contract.triage is not None:
        console.print("Early decisions were taken out: calibrate them anew with `cxrserve models triage`.")


class Quantizer:
    """Makes the variant of one member."""

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
        self._rest = choose("openvino", "auto").precision

    def make(self, asked: Asked, console: Console) -> Member:
        """The member with its variant, or with the reasons why there is none."""
        expected = self._answers(self._engine(self._model, "f32"))
        served = self._engine(self._model, self._rest)
        refused: dict[str, str] = {}
        for precision, keep in self._attempts(asked):
            console.print(f"{self._size}: {precision}, {len(keep)} layers kept", highlight=False)
            model = quantised(self._model, self._images(), keep)
            engine = self._engine(model, self._rest, precision)
            gate = measure(
                expected,
                self._answers(engine),
                self._checking.samples.labels_NF[self._checking.rows],
                self._limits,
                known=[index for index, name in enumerate(NAMES) if self._member.knows(name)],
                faster=speed(served, engine, self._checking.images(self._size)[0]),
                data=self._checking.words,
                engine=f"openvino, against f32; {self._rest} beside int8",
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

    def _attempts(self, asked: Asked) -> list[tuple[Asked, Sequence[str]]]:
        attempts: list[tuple[Asked, Sequence[str]]] = [("int8", ())]
        if asked == "mixed":
            layers = convolutions(self._model)
            ends = sorted({max(1, round(share * len(layers))) for share in KEPT_SHARES})
            attempts += [("mixed", (*layers[:count], *layers[-count:])) for count in ends]
        return attempts

    def _engine(
        self, model: bytes, precision: ActualPrecision, variant: Asked | None = None
    ) -> OpenVinoEngine:
        return OpenVinoEngine(
            model,
            size=self._size,
            precision=precision,
            threads=self._settings.threads,
            variant=variant,
        )

    def _answers(self, engine: OpenVinoEngine) -> Answers:
        return answers(engine, self._checking.samples, self._size, self._checking.rows)

    def _images(self) -> list[NDArray[np.uint8]]:
        return self._calibrating.images(self._size, CALIBRATE)


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
        made = [variant for variant in member.variants if variant.precision != "fp16"]
        why = "; ".join(f"{precision}: {reason}" for precision, reason in member.refused.items())
        for variant in made:
            gate = variant.gate
            table.add_row(
                str(member.size),
                variant.precision,
                f"{gate.speed:.2f}×",
                f"{gate.probability:.4f}",
                f"{gate.maps:.2f} σ",
                "not measured" if gate.mean_auc is None else f"{gate.mean_auc:.4f}",
                why,
            )
        if not made:
            table.add_row(str(member.size), "as it was", "", "", "", "", why)
    console.print(table)
