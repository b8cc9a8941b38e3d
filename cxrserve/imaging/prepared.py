"""What imaging hands on. Apart from `prepare.py`, so that the service itself loads no decoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.radiograph import ImageAbout


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedImage:
    """One radiograph, ready to be judged and to be shown.

    Attributes:
        about: format, size, identifiers.
        applied: every step done to this image, in order.
        warnings: sentences for the user.
        levels: uint8 [S, S] for each size S of the preprocessing.
        preview_HW: the same grey image, uint8, longest side at most what was asked for; None if none was.
        timing_ms: "decode" (bytes to stored values), "pyramid" (profile, levels, preview).
    """

    about: ImageAbout
    applied: tuple[str, ...]
    warnings: tuple[str, ...]
    levels: dict[int, NDArray[np.uint8]]
    preview_HW: NDArray[np.uint8] | None
    timing_ms: dict[str, float]
