"""Heatmaps of a bundle, on the engine that serves it: where they point, and how bright they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.predictor import Predictor
from cxrserve.findings import NAMES
from cxrserve.settings import Settings
from training.cache import PyramidCache

# Of the maxima of present findings: lower, and what is absent begins to glow. That a large faint heatmap
# (edema) is seen beside a small bright one (a nodule) is the square root's work, `heatmap.to_grey`.
HEATMAP_PERCENTILE: Final = 95


def open_predictor(folder: Path) -> Predictor:
    """The bundle in `folder` on the engine that would serve it here."""
    return Predictor.open(Settings(bundle=folder))


def pointing(predictor: Predictor, cache: PyramidCache) -> dict[str, float]:
    """Share of heatmaps, by finding, whose maximum lies on the finding, or in a cell beside it.

    Measured on every present finding of `cache`; findings without a location are left out.
    """
    hits: dict[str, list[bool]] = {}
    if cache.locations_NFGG is None:
        return {}
    for index in range(len(cache)):
        present = [int(finding) for finding in np.flatnonzero(cache.labels_NF[index] > 0.5)]
        for finding, map_GG in predictor.predict(cache.pyramid(index), explain=present).maps.items():
            location_GG = cache.locations_NFGG[index, finding]
            if location_GG.any():
                hits.setdefault(NAMES[finding], []).append(_points_at(map_GG, location_GG))
    return {name: float(np.mean(hits[name])) for name in NAMES if name in hits}


def _points_at(map_GG: NDArray[np.float32], location_GG: NDArray[np.uint8]) -> bool:
    row, column = np.unravel_index(int(map_GG.argmax()), map_GG.shape)
    ratio = location_GG.shape[0] / map_GG.shape[0]
    # One cell of the map to each side: a sign on a cell's border belongs to both.
    top, left = int((row - 1) * ratio), int((column - 1) * ratio)
    bottom, right = int((row + 2) * ratio), int((column + 2) * ratio)
    return bool(location_GG[max(0, top) : bottom, max(0, left) : right].any())
