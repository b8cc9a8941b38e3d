"""A bundle's members in fewer digits: bfloat16 measured, variants in 8-bit integers or float16 made.

The contract says which passed the gate, and why others did not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from cxrserve.bundle.contract import Bundle, Member, load_bundle, write_contract
from cxrserve.errors import RequestError
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.settings import Settings
from training.precision.fp16 import halved
from training.precision.gate import ROUNDED, Limits
from training.precision.quantize.ensemble import admitted
from training.precision.quantize.images import HALVES, Part, drawn, films_of, labelled_of

if TYPE_CHECKING:
    from training.precision.quantize.integers import OnCpu

Requested = Literal["bf16", "fp16", "int8", "mixed"]


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
    if precision != "fp16":
        from training.precision.quantize.integers import check_able

        check_able(precision)
    console = Console(stderr=True)
    loaded = load_bundle(bundle)
    contract = loaded.contract
    with tempfile.TemporaryDirectory(prefix="cxrserve-quantize-") as work:
        calibrating, checking = _parts(
            paths, phantoms, seed, labelled, precision, contract.preprocessing, Path(work), console
        )
        members = (
            _in_half(bundle, loaded, checking)
            if precision == "fp16"
            else _for_cpus(bundle, loaded, calibrating, checking, precision, limits, console)
        )
    changed: dict[str, object] = {"members": members}
    if precision not in ROUNDED:
        changed["triage"] = None
    write_contract(bundle, contract.model_copy(update=changed))
    _remove_others(bundle, contract.members, members)
    _show(members, Console())
    if precision not in ROUNDED and contract.triage is not None:
        console.print("The triage calibration was removed; calibrate again with `cxrserve models triage`.")


def _in_half(folder: Path, bundle: Bundle, checking: Part) -> tuple[Member, ...]:
    """The members with float16 variants. They serve on GPUs, and any CPU measures what they change."""
    judges = checking.thinned(HALVES)
    return tuple(
        halved(
            folder,
            member,
            bundle.models[member.size],
            np.stack(judges.images(member.size)),
            judges.description,
            judges.labels_NF,
        )
        for member in bundle.contract.members
    )


def _for_cpus(
    folder: Path,
    bundle: Bundle,
    calibrating: Part,
    checking: Part,
    precision: OnCpu,
    limits: Limits,
    console: Console,
) -> tuple[Member, ...]:
    """The members with bfloat16 gated and variants in integers, each and all together past the gate."""
    from training.precision.quantize.integers import Quantizer  # needs OpenVINO and nncf

    settings = Settings(bundle=folder)
    makers = [
        Quantizer(member, bundle.models[member.size], calibrating, checking, settings, limits, folder)
        for member in bundle.contract.members
    ]
    members = tuple(maker.make(precision, console) for maker in makers)
    if precision in ROUNDED:
        return members
    passed, fall = admitted(
        [maker.judged(member) for maker, member in zip(makers, members, strict=True)],
        np.array(bundle.contract.stack),
        checking.labels_NF,
        limits,
        folder,
        checking.description,
    )
    if fall is not None:
        console.print(f"the ensemble's mean AUC falls by {fall:.4f}", highlight=False)
    return tuple(passed)


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
