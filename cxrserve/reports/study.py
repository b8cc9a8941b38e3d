"""The study rule of a bundle: maximum or mean over the images' scores, for every kind of report.

A study's score has a calibration and operating points of its own where the bundle holds them: the largest
of several scores is larger than one score, and compared with an image's operating point it would raise
more false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Bundle
from cxrserve.ensemble.calibration import calibrated


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyScores:
    """Scores of a study.

    Attributes:
        images_NF: float64 [N, F], scores of the images; NaN where the finding is not known.
        scores_F: float64 [F], of the study; NaN also where the finding is not known for one of its images.
        probabilities_F: float64 [F], the same calibrated.
    """

    images_NF: NDArray[np.float64]
    scores_F: NDArray[np.float64]
    probabilities_F: NDArray[np.float64]


def over_images(scores_NF: Sequence[Sequence[float | None]], bundle: Bundle) -> StudyScores:
    """Maximum or mean over the N images of a study.

    Args:
        scores_NF: None where the finding is not known.
    """
    images_NF = np.array(scores_NF, np.float64)
    by_maximum = bundle.contract.study_rule == "maximum"
    study_F = images_NF.max(axis=0) if by_maximum else images_NF.mean(axis=0)
    return StudyScores(
        images_NF=images_NF,
        scores_F=study_F,
        probabilities_F=calibrated(study_F, bundle.contract, "studies"),
    )
