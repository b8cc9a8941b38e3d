"""The result of preprocessing. Apart from `prepare.py`, so that the pool of workers loads no decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.grey_summary import GreySummary
from cxrserve.imaging.radiograph import ImageAbout
from cxrserve.warnings import ImageWarning

CHECK_SIDE: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedImage:
    """Result of preprocessing: pyramid levels, preview, provenance.

    Attributes:
        about: format, size, identifiers.
        applied: every step that was done to this image, in order.
        warnings: doubts about the file and its image.
        levels: uint8 [S, S] for each size S of the preprocessing.
        check_SS: uint8 [256, 256], what the film check looks at: squashed, under the bundle's profile.
        preview_HW: the same grey image, uint8, longest side at most `preview_side`; None without one. Never
            turned: it lies as the file's image does.
        quarters: quarter turns clockwise by which `levels` and `check_SS` are turned against the file's
            image.
        grey: the stored values in four numbers, before the profile; for the watch.
        timing_ms: "decode" (bytes to stored values), "pyramid" (profile, levels, preview).
    """

    about: ImageAbout
    applied: tuple[str, ...]
    warnings: tuple[ImageWarning, ...]
    levels: dict[int, NDArray[np.uint8]]
    check_SS: NDArray[np.uint8]
    preview_HW: NDArray[np.uint8] | None
    timing_ms: dict[str, float]
    quarters: int = 0
    grey: GreySummary | None = None
