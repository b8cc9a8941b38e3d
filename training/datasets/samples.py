"""Protocol of the images that a fit reads, from any source.

Legend: N images, F findings, S side of a level, G side of the grid of places.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Samples(Protocol):
    """N images at one or more sizes, with what is known about them.

    Attributes:
        labels_NF: float32 [N, 14]: 0, 1, or NaN where nothing is known (masked in the loss).
        locations_NFGG: uint8 [N, 14, G, G], 1 where a finding lies in the squashed image; None where nobody
            knows, which is everywhere but in phantoms.
        study_N: int64 [N], equal for images of one study. Where a study is a sample, its images carry its
            labels, the same in each.
    """

    @property
    def labels_NF(self) -> NDArray[np.float32]: ...

    @property
    def locations_NFGG(self) -> NDArray[np.uint8] | None: ...

    @property
    def study_N(self) -> NDArray[np.int64]: ...

    def __len__(self) -> int: ...

    def level(self, size: int) -> NDArray[np.uint8]:
        """uint8 [N, S, S] of side `size`, as a rule memory-mapped."""
        ...


class Pyramids(Samples, Protocol):
    """Samples of which all levels of an image are read at once."""

    def pyramid(self, index: int) -> dict[int, NDArray[np.uint8]]:
        """All levels of one image, by size."""
        ...
