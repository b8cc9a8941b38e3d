"""A bundle on the path that serves, and single figures of it; `training.report` makes all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.predictor import Predictor
from cxrserve.findings import NAMES
from cxrserve.settings import Settings
from training.cache import PyramidCache
from training.report.measures import placements

AucTable = dict[str, dict[str, float | None]]

# Of the maxima of present findings: lower, and what is absent begins to glow. That a large faint heatmap
# (edema) is seen beside a small bright one (a nodule) is the square root's work, `heatmap.to_grey`.
HEATMAP_PERCENTILE: Final = 95


def open_predictor(folder: Path) -> Predictor:
    """The bundle in `folder` on the engine that would serve it here."""
    return Predictor.open(Settings(bundle=folder))


def auc(scores_N: NDArray[np.floating], labels_N: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve; ties count half. None where a class is missing."""
    components = placements(scores_N, labels_N > 0.5)
    return None if components is None else components.auc


def means(table: AucTable) -> dict[str, float]:
    """Mean over findings of each column, findings without a value left out."""
    columns = next(iter(table.values()))
    return {
        column: float(
            np.mean([value for row in table.values() if (value := row[column]) is not None] or [np.nan])
        )
        for column in columns
    }


def pointing(predictor: Predictor, cache: PyramidCache) -> dict[str, float]:
    """By finding, the share of heatmaps whose maximum lies in the finding's place, or in a cell beside it.

    Measured on every present finding of `cache`; findings without a place are left out.
    """
    hits: dict[str, list[bool]] = {}
    if cache.places_NFGG is None:
        return {}
    for index in range(len(cache)):
        present = [int(finding) for finding in np.flatnonzero(cache.labels_NF[index] > 0.5)]
        for finding, map_GG in predictor.predict(cache.pyramid(index), explain=present).maps.items():
            place_GG = cache.places_NFGG[index, finding]
            if place_GG.any():
                hits.setdefault(NAMES[finding], []).append(_points_at(map_GG, place_GG))
    return {name: float(np.mean(hits[name])) for name in NAMES if name in hits}


def _points_at(map_GG: NDArray[np.float32], place_GG: NDArray[np.uint8]) -> bool:
    row, column = np.unravel_index(int(map_GG.argmax()), map_GG.shape)
    ratio = place_GG.shape[0] / map_GG.shape[0]
    # One cell of the map to each side: a sign on a cell's border belongs to both.
    top, left = int((row - 1) * ratio), int((column - 1) * ratio)
    bottom, right = int((row + 2) * ratio), int((column + 2) * ratio)
    return bool(place_GG[max(0, top) : bottom, max(0, left) : right].any())
