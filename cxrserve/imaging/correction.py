"""Corrections of a film that lies turned or is stored inverted, done to the stored values.

Before the profile, so that the levels are exactly those of the upright film.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.radiograph import Radiograph


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """A turn by `quarters` clockwise, 0 to 3, and an exchange of black and white."""

    quarters: int = 0
    inverted: bool = False


NO_CORRECTION: Final = Correction()


def corrected(radiograph: Radiograph, correction: Correction) -> tuple[Radiograph, tuple[str, ...]]:
    """The radiograph after the correction, and the steps done, in order."""
    steps: tuple[str, ...] = ()
    if correction.quarters:
        pixels_HW = np.ascontiguousarray(np.rot90(radiograph.pixels_HW, -correction.quarters))
        radiograph = replace(radiograph, pixels_HW=pixels_HW)
        steps += (f"turn-{90 * correction.quarters}-clockwise-by-film-check",)
    if correction.inverted:
        if radiograph.inverted_by:  # the header, which asks to exchange them, is what was wrong
            about = replace(radiograph.about, photometric_interpretation="MONOCHROME2")
            radiograph = replace(radiograph, about=about, inversions=())
        else:
            pixels_HW = _complement(radiograph.pixels_HW, radiograph.about.bits_stored)
            radiograph = replace(radiograph, pixels_HW=pixels_HW)
        steps += ("invert-by-film-check",)
    return radiograph, steps


def _complement(pixels_HW: NDArray[np.integer], bits_stored: int) -> NDArray[np.integer]:
    """Black and white exchanged: within the range of the stored bits, else within that of the values."""
    lowest, highest = int(pixels_HW.min()), int(pixels_HW.max())
    within_bits = lowest >= 0 and highest < 2**bits_stored
    total = 2**bits_stored - 1 if within_bits else lowest + highest
    return (total - pixels_HW.astype(np.int32)).astype(pixels_HW.dtype)
