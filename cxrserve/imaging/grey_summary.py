"""A few numbers on the stored grey values of a radiograph, before any profile: for the watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cxrserve.imaging.radiograph import Radiograph

_SAMPLED_SIDE: Final = 192
_END: Final = 0.02  # of the range that the bits allow, at either end


@dataclass(frozen=True, kw_only=True, slots=True)
class GreySummary:
    """Stored grey values of one radiograph as shares of the range that its bits allow.

    Attributes:
        median: 0 to 1.
        spread: distance between the 10th and the 90th percentile.
        low_end, high_end: share of the pixels within 2 % of either end of the range.
    """

    median: float
    spread: float
    low_end: float
    high_end: float


def grey_summary(radiograph: Radiograph) -> GreySummary:
    """The summary of a coarse sample of the pixels (every n-th)."""
    pixels_HW, bits = radiograph.pixels_HW, radiograph.about.bits_stored
    rows, columns = pixels_HW.shape
    sampled = pixels_HW[:: max(1, rows // _SAMPLED_SIDE), :: max(1, columns // _SAMPLED_SIDE)]
    lowest = -(2 ** (bits - 1)) if np.issubdtype(pixels_HW.dtype, np.signedinteger) else 0
    shares = (sampled.ravel().astype(np.float64) - lowest) / (2**bits - 1)
    tenth, median, ninetieth = np.percentile(shares, (10, 50, 90))
    return GreySummary(
        median=float(median),
        spread=float(ninetieth - tenth),
        low_end=float((shares <= _END).mean()),
        high_end=float((shares >= 1 - _END).mean()),
    )
