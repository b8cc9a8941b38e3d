"""Bundle of imported networks: members compared with their originals, equal weights, unavailable findings."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve import __version__
from cxrserve.bundle.contract import Contract, Lineage, Member, read_contract, write_contract
from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.ensemble.predictor import Predictor
from cxrserve.findings import INDEX, NAMES
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.settings import Settings
from training.importing.network import ImportedNetwork
from training.networks.export import export_member
from training.phantom.pyramids import IN_WORDS, phantom_pyramids
from training.precision.bf16 import gated
from training.precision.fp16 import add_half

HEATMAP_PERCENTILE: Final = 95


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Imported:
    """A network to become a member. `thresholds` are its authors' own, by finding, on σ(logit)."""

    network: ImportedNetwork
    size: int
    source: str
    thresholds: dict[str, float]


def write_imported(
    imported: Sequence[Imported], out: Path, name: str, preprocessing: Preprocessing
) -> Contract:
    """Write the bundle `name` into `out`.

    Raises:
        ValueError: two members of one size; an engine answers otherwise than torch.
    """
    ordered = sorted(imported, key=lambda item: item.size)
    sizes = tuple(item.size for item in ordered)
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"two networks look at the same size among {list(sizes)}: a bundle has one for each")
    out.mkdir(parents=True, exist_ok=True)
    members: list[Member] = []
    tolerance: dict[str, float] = {}
    phantoms = phantom_pyramids(preprocessing)
    for item in ordered:
        member, differences = export_member(item.network, item.size, out)
        known = None if item.network.known == NAMES else item.network.known
        member = member.model_copy(update={"findings": known})
        images = [pyramid[item.size] for pyramid in phantoms]
        members.append(gated(member, (out / member.file).read_bytes(), images, None, IN_WORDS))
        for what, difference in differences.items():
            tolerance[what] = max(tolerance.get(what, 0.0), round(difference, 8))
    contract = _contract(ordered, members, name, preprocessing, tolerance)
    write_contract(out, contract)
    contract = contract.model_copy(update={"heatmap_scale": _heatmap_scale(out)})
    write_contract(out, contract)
    return contract


def write_half(out: Path) -> Contract:
    """Write every member of the bundle in `out` in half precision beside it, gated on drawn phantoms.

    Raises:
        ValueError: a member does not stand half precision.
    """
    preprocessing = read_contract(out)[0].preprocessing
    pyramids = phantom_pyramids(preprocessing)
    images = {size: np.stack([item[size] for item in pyramids]) for size in preprocessing.sizes}
    return add_half(out, images, IN_WORDS)


def _contract(
    imported: Sequence[Imported],
    members: list[Member],
    name: str,
    preprocessing: Preprocessing,
    tolerance: dict[str, float],
) -> Contract:
    unavailable = tuple(item for item in NAMES if not any(member.supports(item) for member in members))
    sources = "; ".join(f"{item.size} px from {item.source}" for item in imported)
    not_known = (
        (f"It does not know {', '.join(unavailable)}: nothing is said of them.",) if unavailable else ()
    )
    return Contract(
        name=name,
        version=__version__,
        lineage=Lineage(
            recipe="import",
            data=f"weights published by others: {sources}",
            code_version=__version__,
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        ),
        findings=NAMES,
        preprocessing=preprocessing,
        members=tuple(members),
        stack=tuple(_weights(item, members) for item in NAMES),
        operating_points={item: _point(item, imported) for item in NAMES if item not in unavailable},
        heatmap_scale=1.0,
        tolerance=tolerance,
        unavailable=unavailable,
        intended_use="Research with weights that others have trained and published.",
        limits=(
            "Not measured here: `cxrserve evaluate` measures it on films of your own.",
            *not_known,
            "Scales count equally: no stack was fitted.",
            f"The strength of heatmaps was set by {IN_WORDS}.",
            "Not a medical device; research only.",
        ),
    )


def _weights(name: str, members: Sequence[Member]) -> tuple[float, ...]:
    """Equal shares of those who know the finding."""
    known = [member.supports(name) for member in members]
    return tuple(1 / sum(known) if item else 0.0 for item in known) if any(known) else (0.0,) * len(known)


def _point(name: str, imported: Sequence[Imported]) -> OperatingPoint:
    knowing = [item for item in imported if name in item.network.known]
    own = [item.thresholds[name] for item in knowing if name in item.thresholds]
    if len(own) < len(knowing) or not own:
        return OperatingPoint(threshold=0.5, chosen_for="one half: nothing was measured", data="none")
    rule = "the operating point published with the weights"
    if len(own) > 1:
        rule = "the mean of the operating points published with the weights"
    return OperatingPoint(threshold=float(np.mean(own)), chosen_for=rule, data="its authors' own")


def _heatmap_scale(bundle: Path) -> float:
    """The strength that most maxima of known findings stay below, on drawn phantoms."""
    predictor = Predictor.open(Settings(bundle=bundle))
    preprocessing = predictor.bundle.contract.preprocessing
    maxima: list[float] = []
    for pyramid in phantom_pyramids(preprocessing):
        maps = predictor.predict(pyramid, explain=range(len(INDEX))).maps
        maxima += [float(grid.max()) for grid in maps.values()]
    scale = float(np.percentile(maxima, HEATMAP_PERCENTILE))
    return float(f"{scale:.4g}") if scale > 0 else 1.0
