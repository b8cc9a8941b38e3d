"""Reading a cache: levels, labels and places of many images, memory-mapped by as many processes as want it.

Legend: N images, F findings, S side of a level, G side of the grid of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.pyramid import Grey, Preprocessing
from training.cache.files import level_file
from training.cache.phantoms import LABELS, PLACES

Labels = NDArray[np.float32]
Places = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class PyramidCache:
    """Levels, labels and places of N images.

    Attributes:
        levels: by size, uint8 [N, S, S], memory-mapped.
        labels_NF: float32 [N, 14], 0 or 1.
        places_NFGG: uint8 [N, 14, 64, 64], 0 or 1, where each finding lies in the squashed image.
    """

    levels: dict[int, NDArray[np.uint8]]
    labels_NF: Labels
    places_NFGG: Places

    def __len__(self) -> int:
        return len(self.labels_NF)

    def pyramid(self, index: int) -> dict[int, Grey]:
        """All levels of one image, as `build_pyramid` returned them."""
        return {size: np.ascontiguousarray(level[index]) for size, level in self.levels.items()}


def open_cache(folder: Path, preprocessing: Preprocessing) -> PyramidCache:
    """The cache that `cache_phantoms` made in `folder`."""
    return PyramidCache(
        levels={size: np.load(folder / level_file(size), mmap_mode="r") for size in preprocessing.sizes},
        labels_NF=np.load(folder / LABELS),
        places_NFGG=np.load(folder / PLACES, mmap_mode="r"),
    )
