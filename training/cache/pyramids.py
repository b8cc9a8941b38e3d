"""Reading a cache: levels, labels and places of many images, memory-mapped by as many processes as want it.

Legend: N images, F findings, S side of a level, G side of the grid of places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.pyramid import Grey, Preprocessing
from training.cache.files import level_file
from training.cache.phantoms import LABELS, PLACES
from training.cache.rows import all_rows, rows_of
from training.datasets.sample import Sample

Labels = NDArray[np.float32]
Places = NDArray[np.uint8]


def _unsaid() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class PyramidCache:
    """Levels, labels and places of N images: `training.samples.Samples`, of phantoms and of films.

    Attributes:
        levels: by size, uint8 [N, S, S], memory-mapped.
        labels_NF: float32 [N, 14], 0 or 1, NaN where nothing is known.
        places_NFGG: uint8 [N, 14, 64, 64], 0 or 1, where each finding lies in the squashed image; None where
            nobody knows.
        study_N: int64 [N], equal for images of one study; each its own where nothing is said.
        films: what the tables say about each image; empty for drawn phantoms.
    """

    levels: Mapping[int, NDArray[np.uint8]]
    labels_NF: Labels
    places_NFGG: Places | None = None
    study_N: NDArray[np.int64] = field(default_factory=_unsaid)
    films: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        if len(self.study_N) != len(self.labels_NF):
            object.__setattr__(self, "study_N", np.arange(len(self.labels_NF)))

    def __len__(self) -> int:
        return len(self.labels_NF)

    def level(self, size: int) -> NDArray[np.uint8]:
        """uint8 [N, S, S] of side `size`, memory-mapped."""
        return self.levels[size]

    def pyramid(self, index: int) -> dict[int, Grey]:
        """All levels of one image, as `build_pyramid` returned them."""
        return {size: np.ascontiguousarray(level[index]) for size, level in self.levels.items()}


def open_cache(folder: Path, preprocessing: Preprocessing) -> PyramidCache:
    """The phantoms that `cache_phantoms` put into `folder`."""
    return PyramidCache(
        levels={size: all_rows(folder / level_file(size)) for size in preprocessing.sizes},
        labels_NF=np.load(folder / LABELS),
        places_NFGG=all_rows(folder / PLACES),
    )


def open_films(
    folders: Sequence[Path],
    rows: Sequence[NDArray[np.int64]],
    films: Sequence[Sequence[Sample]],
    labels_NF: Labels,
    sizes: Sequence[int],
) -> PyramidCache:
    """Some rows of the caches that `cache_images` filled, one cache after the other.

    Args:
        rows: int64, for each folder, which of its rows.
        films: the samples of those rows, for each folder.
        labels_NF: float32 [N, 14], of all of them.
    """
    file_N = np.concatenate([np.full(len(each), index, np.int64) for index, each in enumerate(rows)])
    row_N = np.concatenate(rows)
    studies = [f"{index}/{film.study_id}" for index, each in enumerate(films) for film in each]
    return PyramidCache(
        levels={
            size: rows_of(tuple(folder / level_file(size) for folder in folders), file_N, row_N)
            for size in sizes
        },
        labels_NF=labels_NF,
        study_N=np.unique(studies, return_inverse=True)[1].astype(np.int64),
        films=tuple(film for each in films for film in each),
    )
