"""Is there anything like a radiograph in these pixels? Noise, text and line drawings are not scored.

A film without metadata says nothing of what it shows, so the pixels are asked two questions whose answers
lie far apart. Neighbouring places of a body resemble each other: the correlation of neighbours at 256
pixels is 0.89 to 1.00 on 50 public radiographs under every profile (0.75 and more where the radiograph
itself has but 64 pixels), 0.5 on a page of text, 0.0 on noise. It falls with the size and rises with
enlargement, so it is measured at 256 whatever the bundle's sizes are, and smaller pictures as they are.
And a radiograph has many greys: its two most frequent make up 0.02 to 0.5 of it (0.5 with wide empty
borders), 0.9 of a page. Photographs, knees and slices look alike to such questions; they need metadata.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrserve.errors import NotAChestRadiograph

JUDGED_SIDE: Final = 256
_MIN_CORRELATION: Final = 0.75
_SAME_GREY: Final = 2
_MAX_IN_TWO_GREYS: Final = 0.85


def check_content(grey_HW: NDArray[np.uint8], small_HW: NDArray[np.uint8]) -> None:
    """Pass an image that may be a radiograph.

    Args:
        grey_HW: under its profile, at native size.
        small_HW: the same at `JUDGED_SIDE` a side, or at its own rows or columns where it has fewer.

    Raises:
        NotAChestRadiograph: noise, or a page of text or lines.
    """
    if min(np.ptp(small_HW, axis=axis).max() for axis in (0, 1)) <= _SAME_GREY:
        raise NotAChestRadiograph(
            "all rows or all columns are the same: this is a gradient or a test pattern, not a radiograph. "
            "Send the radiograph itself."
        )
    correlation = neighbour_correlation(small_HW)
    if correlation < _MIN_CORRELATION:
        raise NotAChestRadiograph(
            f"neighbouring places are hardly alike (correlation {correlation:.2f}; radiographs have at least "
            f"{_MIN_CORRELATION}): this is noise, text or a pattern. Send the radiograph itself."
        )
    share = two_greys_share(grey_HW)
    if share > _MAX_IN_TWO_GREYS:
        raise NotAChestRadiograph(
            f"two grey values make up {share:.0%} of the image (radiographs have at most "
            f"{_MAX_IN_TWO_GREYS:.0%}): this is a page, a drawing or an empty frame. Send the film."
        )


def neighbour_correlation(small_HW: NDArray[np.uint8]) -> float:
    """Correlation of neighbouring pixels, the lesser of across and down; 0 where all are equal."""
    centred_HW = small_HW.astype(np.float32)
    centred_HW -= centred_HW.mean()
    power = float((centred_HW**2).mean())
    if power == 0:
        return 0.0
    across, down = centred_HW[:, 1:] * centred_HW[:, :-1], centred_HW[1:] * centred_HW[:-1]
    return min(float(across.mean()), float(down.mean())) / power


def two_greys_share(grey_HW: NDArray[np.uint8]) -> float:
    """Share of the pixels that have one of the two most frequent grey values, 0 to 1."""
    counts = np.sort(cv2.calcHist([grey_HW], [0], None, [256], [0, 256]).ravel())
    return float(counts[-2:].sum() / grey_HW.size)
