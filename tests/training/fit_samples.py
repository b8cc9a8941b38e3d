"""Small samples for fits: noise, with a white square where a Fracture lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import INDEX

FRACTURE = INDEX["Fracture"]


@dataclass
class ArraySamples:
    """Samples in memory, all of one size; counts how often a level was read, and may fail at one reading."""

    level_NSS: NDArray[np.uint8]
    labels_NF: NDArray[np.float32]
    locations_NFGG: NDArray[np.uint8] | None
    study_N: NDArray[np.int64]
    fails_at: int | None = None
    reads: int = 0

    def __len__(self) -> int:
        return len(self.labels_NF)

    def level(self, size: int) -> NDArray[np.uint8]:
        assert self.level_NSS.shape[1] == size
        self.reads += 1
        if self.reads == self.fails_at:
            raise Killed
        return self.level_NSS


class Killed(Exception):
    """Raised to end a fit in the middle of an epoch."""


def squares(count: int = 8, size: int = 128, views: int = 1, *, places: bool = True) -> ArraySamples:
    """`count` images in studies of `views`; every second study has a Fracture in each of its images."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 100, (count, size, size), np.uint8)
    locations_NFGG = np.zeros((count, 14, 64, 64), np.uint8)
    labels = np.zeros((count, 14), np.float32)
    study_N = np.arange(count) // views
    cell = size // 64
    for index in np.flatnonzero(study_N % 2 == 0):
        row, column = rng.integers(4, 60, 2)
        level[index, row * cell : (row + 2) * cell, column * cell : (column + 2) * cell] = 255
        locations_NFGG[index, FRACTURE, row : row + 2, column : column + 2] = 1
        labels[index, FRACTURE] = 1
    return ArraySamples(level, labels, locations_NFGG if places else None, study_N)
