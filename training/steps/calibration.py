"""Calibration of stacked probabilities, which is the identity for now, and thresholds.

Legend: N images, F findings.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.bundle.threshold_counts import threshold_counts
from cxrserve.findings import NAMES

Floats = NDArray[np.float64]
# What a bundle says of it; the one that there is.
CALIBRATION: Final[Literal["identity"]] = "identity"


def calibrated(probabilities_NF: Floats) -> Floats:
    """Probabilities as they are answered: those of the stack."""
    return probabilities_NF


def operating_points(
    probabilities_NF: Floats, labels_NF: NDArray[np.floating], data: str, known: Collection[str] = NAMES
) -> dict[str, OperatingPoint]:
    """The threshold of each finding in `known` with the largest sensitivity + specificity − 1 (Youden 1950).

    Args:
        labels_NF: 0, 1, or NaN where nothing is known, which does not count.
        data: the images, in words.
    """
    points = {}
    for index, name in enumerate(NAMES):
        if name in known:
            known_N = ~np.isnan(labels_NF[:, index])
            points[name] = _youden(
                probabilities_NF[known_N, index], labels_NF[known_N, index] > 0.5, f"{known_N.sum()} {data}"
            )
    return points


def _youden(probabilities_N: Floats, positive_N: NDArray[np.bool_], data: str) -> OperatingPoint:
    if positive_N.all() or not positive_N.any():
        return OperatingPoint(threshold=0.5, chosen_for="one half: the data has one class only", data=data)
    present_P, absent_Q = np.sort(probabilities_N[positive_N]), np.sort(probabilities_N[~positive_N])
    candidates = np.unique(probabilities_N)
    sensitivity_T = 1 - np.searchsorted(present_P, candidates) / len(present_P)
    specificity_T = np.searchsorted(absent_Q, candidates) / len(absent_Q)
    best = int(np.argmax(sensitivity_T + specificity_T))
    # Halfway to the next lower score: a threshold on a score itself turns with the last digit of an engine.
    halfway = candidates[best] if best == 0 else (candidates[best - 1] + candidates[best]) / 2
    threshold = round(float(halfway), 6)
    return OperatingPoint(
        threshold=threshold,
        sensitivity=round(float(sensitivity_T[best]), 4),
        specificity=round(float(specificity_T[best]), 4),
        chosen_for="largest sensitivity + specificity − 1 (Youden's index)",
        data=data,
        events=len(present_P),
        non_events=len(absent_Q),
        curve=threshold_counts(probabilities_N, positive_N, threshold, probabilities_N >= threshold),
    )
