"""Score a bundle through the path that serves, and measure it.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble import stack
from cxrserve.ensemble.bundle import OperatingPoint
from cxrserve.ensemble.predictor import Predictor
from cxrserve.findings import NAMES
from cxrserve.settings import Settings
from training.cache import PyramidCache

Floats = NDArray[np.float64]
AucTable = dict[str, dict[str, float | None]]

VOTING: Final = "voting"
STACK: Final = "stack"
# Of the maxima of present findings: lower, and what is absent begins to glow. That a large faint heatmap
# (edema) is seen beside a small bright one (a nodule) is the square root's work, `heatmap.to_grey`.
HEATMAP_PERCENTILE: Final = 95


def open_predictor(folder: Path) -> Predictor:
    """The bundle in `folder` on the engine that would serve it here."""
    return Predictor.open(Settings(bundle=folder))


def score(predictor: Predictor, cache: PyramidCache) -> Iterator[Floats]:
    """Logits float64 [F, S] of one image after the other."""
    for index in range(len(cache)):
        yield predictor.predict(cache.pyramid(index), explain="none").logits_FS


def auc(scores_N: NDArray[np.floating], labels_N: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve by ranks (Mann–Whitney); ties count half. None where a class is missing."""
    positive = labels_N > 0.5
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores_N, return_inverse=True, return_counts=True)
    ranks_N = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks_N[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def auc_table(
    logits_NFS: Floats, weights_FS: Floats, labels_NF: NDArray[np.floating], sizes: tuple[int, ...]
) -> AucTable:
    """AUC of each finding at each size, of voting and of the stack."""
    columns = {str(size): logits_NFS[:, :, index] for index, size in enumerate(sizes)}
    columns[VOTING] = stack.voted(logits_NFS)
    columns[STACK] = stack.stacked(logits_NFS, weights_FS)
    return {
        name: {
            column: _rounded(auc(scores_NF[:, index], labels_NF[:, index]))
            for column, scores_NF in columns.items()
        }
        for index, name in enumerate(NAMES)
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def means(table: AucTable) -> dict[str, float]:
    """Mean over findings of each column, findings without a value left out."""
    columns = next(iter(table.values()))
    return {
        column: float(
            np.mean([value for row in table.values() if (value := row[column]) is not None] or [np.nan])
        )
        for column in columns
    }


def operating_points(
    probabilities_NF: Floats, labels_NF: NDArray[np.floating], data: str
) -> dict[str, OperatingPoint]:
    """Each finding's threshold with the largest sensitivity + specificity − 1 (Youden 1950)."""
    return {
        name: _youden(probabilities_NF[:, index], labels_NF[:, index] > 0.5, data)
        for index, name in enumerate(NAMES)
    }


def _youden(probabilities_N: Floats, positive_N: NDArray[np.bool_], data: str) -> OperatingPoint:
    if positive_N.all() or not positive_N.any():
        return OperatingPoint(threshold=0.5, chosen_for="one half: the data has one class only", data=data)
    candidates = np.unique(probabilities_N)
    called_TN = probabilities_N >= candidates[:, None]
    sensitivity_T = called_TN[:, positive_N].mean(1)
    specificity_T = 1 - called_TN[:, ~positive_N].mean(1)
    best = int(np.argmax(sensitivity_T + specificity_T))
    # Halfway to the next lower score: a threshold on a score itself turns with the last digit of an engine.
    threshold = candidates[best] if best == 0 else (candidates[best - 1] + candidates[best]) / 2
    return OperatingPoint(
        threshold=round(float(threshold), 6),
        sensitivity=round(float(sensitivity_T[best]), 4),
        specificity=round(float(specificity_T[best]), 4),
        chosen_for="largest sensitivity + specificity − 1 (Youden's index)",
        data=data,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatmapFacts:
    """Heatmaps of present findings.

    Attributes:
        scale: the percentile `HEATMAP_PERCENTILE` of their maxima: what is shown at full strength.
        pointing: by finding, the share of maps whose maximum lies in the finding's place, or in a cell
            beside it; findings without a place are left out.
    """

    scale: float
    pointing: dict[str, float]


def heatmap_facts(predictor: Predictor, cache: PyramidCache) -> HeatmapFacts:
    """Measure the ensemble's heatmaps of every present finding of `cache`."""
    maxima: list[float] = []
    hits: dict[str, list[bool]] = {}
    for index in range(len(cache)):
        present = [int(finding) for finding in np.flatnonzero(cache.labels_NF[index] > 0.5)]
        for finding, map_GG in predictor.predict(cache.pyramid(index), explain=present).maps.items():
            maxima.append(float(map_GG.max()))
            place_GG = cache.places_NFGG[index, finding]
            if place_GG.any():
                hits.setdefault(NAMES[finding], []).append(_points_at(map_GG, place_GG))
    return HeatmapFacts(
        scale=max(float(np.percentile(maxima, HEATMAP_PERCENTILE)), float(np.finfo(np.float32).tiny)),
        pointing={name: float(np.mean(hits[name])) for name in NAMES if name in hits},
    )


def _points_at(map_GG: NDArray[np.float32], place_GG: NDArray[np.uint8]) -> bool:
    row, column = np.unravel_index(int(map_GG.argmax()), map_GG.shape)
    ratio = place_GG.shape[0] / map_GG.shape[0]
    # One cell of the map to each side: a sign on a cell's border belongs to both.
    top, left = int((row - 1) * ratio), int((column - 1) * ratio)
    bottom, right = int((row + 2) * ratio), int((column + 2) * ratio)
    return bool(place_GG[max(0, top) : bottom, max(0, left) : right].any())
