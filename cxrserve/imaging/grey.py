"""Colour that is grey underneath, to one channel; real colour is no radiograph."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrserve.errors import NotAChestRadiograph

# A colour is a spread of the three channels above this share of the brightest value: JPEG leaves 4 % in
# grey, blue film photographed for a journal 13 %. Some pixels may have more: a coloured marker, an arrow.
_COLOURED_SPREAD: Final = 0.16
_MOST_COLOURED: Final = 0.02


def to_grey(samples: NDArray[Any]) -> tuple[NDArray[np.integer], tuple[str, ...]]:
    """`samples` [H, W] as they are, or [H, W, 3] (RGB) as one channel, and the step taken.

    Raises:
        NotAChestRadiograph: the picture is in colour.
    """
    if samples.ndim == 2:
        return samples, ()
    spread_HW = samples.max(axis=2) - samples.min(axis=2)
    if not spread_HW.any():
        return np.ascontiguousarray(samples[..., 0]), ("equal-channels-to-grey",)
    coloured = float((spread_HW > _COLOURED_SPREAD * int(samples.max())).mean())
    if coloured > _MOST_COLOURED:
        raise NotAChestRadiograph(
            f"{coloured:.0%} of the pixels are coloured, {_MOST_COLOURED:.0%} may be: a radiograph is grey. "
            "Send the radiograph itself, not a photograph, a screen or a colour map."
        )
    grey_HW = cv2.cvtColor(np.ascontiguousarray(samples), cv2.COLOR_RGB2GRAY)
    return grey_HW.astype(samples.dtype, copy=False), ("luma-601-to-grey",)
