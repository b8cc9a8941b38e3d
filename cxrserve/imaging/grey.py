"""Colour that is grey underneath, to one channel; real colour is no radiograph.

A tint (blue film, sepia, a lamp's colour) is the same everywhere: each channel is a rising line over the
luma. So the question is how far the channels lie from such lines. Of films, tinted or photographed for a
journal, saved as JPEG or not, at most 5 % of the pixels are off by more than 16 of 255 levels; of colour
photographs 35 % and more, of a heatmap over a film 30 %.

Legend: H rows, W columns, C the three channels.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrserve.errors import NotAChestRadiograph
from cxrserve.warnings import ImageWarning, WarningCode

_OFF_THE_TINT: Final = 16 / 255  # of the brightest value
_MAX_OFF: Final = 0.08  # a marker, an arrow, text
_STRONGEST_TINT: Final = 0.6  # spread of the channels over the largest: blue film has 0.25, sepia 0.35, red 1
# Blue film has 0.68, sepia 0.75. Grey in YCbCr that is taken for RGB has channels that do not rise at all.
_MIN_SLOPE: Final = 0.3
_NO_TINT: Final = 0.02  # JPEG leaves as much where grey was
_FITS: Final = 3
_ENOUGH_SIDE: Final = 512  # the question is put to every n-th pixel of larger pictures


def to_grey(
    samples: NDArray[Any],
) -> tuple[NDArray[np.integer], tuple[str, ...], tuple[ImageWarning, ...]]:
    """`samples` [H, W] as they are, or [H, W, 3] (RGB) as one channel; the step taken, and doubts.

    Raises:
        NotAChestRadiograph: the picture is in colour.
    """
    if samples.ndim == 2:
        return samples, (), ()
    if all(np.array_equal(samples[..., 0], samples[..., channel]) for channel in (1, 2)):
        return np.ascontiguousarray(samples[..., 0]), ("equal-channels-to-grey",), ()
    strength = _check_tint(samples)
    grey_HW = cv2.cvtColor(np.ascontiguousarray(samples), cv2.COLOR_RGB2GRAY)
    return grey_HW.astype(samples.dtype, copy=False), ("luma-601-to-grey",), _tint_warning(strength)


def _tint_warning(strength: float) -> tuple[ImageWarning, ...]:
    if strength <= _NO_TINT:
        return ()
    return (
        ImageWarning(
            code=WarningCode.TINTED,
            message=f"The picture has a colour tint ({strength:.0%} of its brightness): it may be a "
            "photograph of a film or of a screen. Send the original radiograph.",
        ),
    )


def _check_tint(samples: NDArray[Any]) -> float:
    """The strength of the tint, 0 to 1.

    Raises:
        NotAChestRadiograph: more than a tint.
    """
    step = max(1, min(samples.shape[:2]) // _ENOUGH_SIDE)
    share_HWC = samples[::step, ::step].astype(np.float32) / np.float32(samples.max())
    strength = float(np.ptp(share_HWC, axis=2).mean() / share_HWC.max(axis=2).mean())
    distance_HW, slope_C = _tint(share_HWC)
    off = float((distance_HW > _OFF_THE_TINT).mean())
    if off > _MAX_OFF or strength > _STRONGEST_TINT or slope_C.min() < _MIN_SLOPE:
        raise NotAChestRadiograph(
            f"the picture is coloured: {off:.0%} of the pixels are off its tint ({_MAX_OFF:.0%} may be), "
            f"whose strength is {strength:.0%} ({_STRONGEST_TINT:.0%} may be); the channel that follows the "
            f"brightness least has {slope_C.min():.0%} of it ({_MIN_SLOPE:.0%} are needed). Send the "
            "radiograph itself, not a photograph, a screen or a colour map."
        )
    return strength


def _tint(share_HWC: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The largest distance of a pixel's channels from their lines over the luma, and the lines' slopes.

    Least squares, three times: from the second on without the pixels that were farthest off, so that text
    in colour does not pull the lines towards itself.
    """
    luma_HW = cv2.cvtColor(share_HWC, cv2.COLOR_RGB2GRAY).astype(np.float32)
    kept_HW = np.ones(luma_HW.shape, np.bool_)
    for _ in range(_FITS):
        luma_N, values_NC = luma_HW[kept_HW], share_HWC[kept_HW]
        centred_N, mean_C = luma_N - luma_N.mean(), values_NC.mean(axis=0)
        power = max(float((centred_N**2).mean()), 1e-12)  # an even picture has no slope
        slope_C: NDArray[np.float32] = (centred_N[:, None] * (values_NC - mean_C)).mean(axis=0) / np.float32(
            power
        )
        lines_HWC = mean_C + slope_C * (luma_HW - luma_N.mean())[..., None]
        distance_HW: NDArray[np.float32] = np.abs(share_HWC - lines_HWC).max(axis=2)
        kept_HW = distance_HW <= np.quantile(distance_HW, 1 - _MAX_OFF)
    return distance_HW, slope_C
