"""Pyramids of a cache: levels, labels and locations of many images, read from the disk as they are needed.

Legend: N images, F findings, S side of a level, G side of the grid of places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.pyramid import Grey, Preprocessing, halve
from training.cache.compressed import halvings
from training.cache.files import level_file
from training.cache.phantoms import LABELS, LOCATIONS
from training.cache.rows import all_rows, level_rows
from training.datasets.sample import Sample

Labels = NDArray[np.float32]
Locations = NDArray[np.uint8]


def _unsaid() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class PyramidCache:
    """Levels, labels and places of N images: `training.datasets.samples.Samples`, of phantoms and of films.

    Attributes:
        levels: by size, uint8 [N, S, S], on the disk.
        labels_NF: float32 [N, 14], 0 or 1, NaN where nothing is known.
        locations_NFGG: uint8 [N, 14, 64, 64], 0 or 1, where each finding lies in the squashed image; None
            where that is not known.
        study_N: int64 [N], equal for images of one study; different where the tables do not say.
        derived: the sizes that are not stored: the 2×2 means of the level of twice the side.
        records: what the tables say about each image; empty for drawn phantoms.
    """

    levels: Mapping[int, NDArray[np.uint8]]
    labels_NF: Labels
    locations_NFGG: Locations | None = None
    study_N: NDArray[np.int64] = field(default_factory=_unsaid)
    derived: frozenset[int] = frozenset()
    records: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        if len(self.study_N) != len(self.labels_NF):
            object.__setattr__(self, "study_N", np.arange(len(self.labels_NF)))

    def __len__(self) -> int:
        return len(self.labels_NF)

    def level(self, size: int) -> NDArray[np.uint8]:
        """uint8 [N, S, S] of side `size`, on the disk."""
        return self.levels[size]

    def pyramid(self, index: int) -> dict[int, Grey]:
        """All levels of one image, as `build_pyramid` returned them."""
        levels: dict[int, Grey] = {}
        for size in sorted(self.levels, reverse=True):
            # A finer level is decoded once for itself and for those that derive from it.
            derived = size in self.derived
            levels[size] = halve(levels[2 * size]) if derived else self.levels[size][index]
        return {size: np.ascontiguousarray(levels[size]) for size in self.levels}


def open_cache(folder: Path, preprocessing: Preprocessing) -> PyramidCache:
    """The phantoms that `cache_phantoms` wrote into `folder`."""
    return PyramidCache(
        levels={size: all_rows(folder / level_file(size)) for size in preprocessing.sizes},
        labels_NF=np.load(folder / LABELS),
        locations_NFGG=all_rows(folder / LOCATIONS),
    )


def open_films(
    folders: Sequence[Path],
    rows: Sequence[NDArray[np.int64]],
    samples: Sequence[Sequence[Sample]],
    labels_NF: Labels,
    sizes: Sequence[int],
) -> PyramidCache:
    """Some rows of the caches that `cache_images` filled, one cache after the other.

    Args:
        rows: int64, for each folder, which of its rows.
        samples: the samples of those rows, for each folder.
        labels_NF: float32 [N, 14], of all of them.
    """
    file_N = np.concatenate(
        [np.full(len(folder_items), index, np.int64) for index, folder_items in enumerate(rows)]
    )
    row_N = np.concatenate(rows)
    studies = [
        f"{index}/{sample.study_id}" for index, folder_items in enumerate(samples) for sample in folder_items
    ]
    return PyramidCache(
        levels={
            size: level_rows(tuple(folders), size, halvings(size, sizes), file_N, row_N) for size in sizes
        },
        derived=frozenset(size for size in sizes if halvings(size, sizes)),
        labels_NF=labels_NF,
        study_N=np.unique(studies, return_inverse=True)[1].astype(np.int64),
        records=tuple(sample for folder_items in samples for sample in folder_items),
    )
