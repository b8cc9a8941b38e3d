"""One study from its images: the bundle's rule, in one place for every kind of report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.bundle import Bundle


def over_images(
    probabilities_NF: Sequence[Sequence[float | None]], bundle: Bundle
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Maximum or mean over the N images of a study.

    Args:
        probabilities_NF: None where an image does not tell.

    Returns:
        each image's float64 [N, F] and the study's [F]; NaN where it, or any of its images, does not tell.
    """
    each_NF = np.array(probabilities_NF, np.float64)
    by_maximum = bundle.contract.study_rule == "maximum"
    return each_NF, each_NF.max(axis=0) if by_maximum else each_NF.mean(axis=0)
