"""A few phantoms as a network sees them: what weights are compared on before anybody has films."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing, build_pyramid
from training.phantom.phantom import make_phantom

COUNT: Final = 4
IN_WORDS: Final = f"{COUNT} drawn phantoms"


def phantom_pyramids(preprocessing: Preprocessing) -> list[dict[int, NDArray[np.uint8]]]:
    """`COUNT` phantoms, always the same: by size, uint8 [S, S]."""
    return [_pyramid(seed, preprocessing) for seed in range(COUNT)]


def _pyramid(seed: int, preprocessing: Preprocessing) -> dict[int, NDArray[np.uint8]]:
    grey_HW, _ = apply_profile(make_phantom(seed).radiograph, preprocessing.profile)
    return build_pyramid(grey_HW, preprocessing)
