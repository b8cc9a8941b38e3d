"""Counts at many thresholds of one finding, from which the shares at any of them follow.

Legend: N units, T thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cxrserve.schema import Strict

MAX_THRESHOLDS: Final = 101
# Quantiles of the present and of the absent units: steps of sensitivity and of specificity of one size.
_QUANTILES: Final = np.linspace(0, 1, 31)


class ThresholdCounts(Strict):
    """Units at or above each of up to 101 thresholds, on the data of the operating point.

    With the point's `events` and `non_events` they give sensitivity, specificity, PPV and NPV there.
    """

    thresholds: tuple[float, ...] = Field(
        min_length=1, max_length=MAX_THRESHOLDS, description="Of the calibrated probability; ascending."
    )
    true_positives: tuple[int, ...] = Field(
        description="Units with the finding at or above each threshold; never rising."
    )
    false_positives: tuple[int, ...] = Field(description="Units without it, likewise.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        count = len(self.thresholds)
        if not all(0 <= low <= high <= 1 for low, high in pairwise((*self.thresholds, 1.0))):
            raise ValueError("the thresholds of a curve ascend between 0 and 1; these do not")
        for name, counts in (
            ("true_positives", self.true_positives),
            ("false_positives", self.false_positives),
        ):
            if len(counts) != count:
                raise ValueError(f"a curve of {count} thresholds has {len(counts)} {name}")
            if not all(high >= low for high, low in pairwise((*counts, 0))):
                raise ValueError(f"{name} fall from threshold to threshold, and never below 0; these do not")
        return self

    def moved(self, move: Callable[[float], float]) -> Self:
        """The same counts with thresholds under another calibration; `move` must not change their order."""
        return self.model_copy(update={"thresholds": tuple(map(move, self.thresholds))})


def threshold_counts(
    probabilities_N: NDArray[np.floating],
    positive_N: NDArray[np.bool_],
    threshold: float,
    flagged_N: NDArray[np.bool_],
) -> ThresholdCounts | None:
    """The counts at quantiles of the data, and at the operating point; None where a class is missing.

    Args:
        probabilities_N: calibrated, without NaN.
        positive_N: True for units with the finding.
        threshold, flagged_N: the operating point, and the units that are positive there.
    """
    if positive_N.all() or not positive_N.any():
        return None
    classes = (probabilities_N[positive_N], probabilities_N[~positive_N])
    drawn = np.concatenate([np.quantile(values, _QUANTILES) for values in classes])
    # Six digits are enough of a threshold; the counts are those of the shortened number.
    candidates = {float(f"{value:.6g}") for value in drawn}
    flagged_at = {value: probabilities_N >= value for value in candidates} | {threshold: flagged_N}
    thresholds_T = sorted(flagged_at)
    return ThresholdCounts(
        thresholds=tuple(thresholds_T),
        true_positives=tuple(int((flagged_at[value] & positive_N).sum()) for value in thresholds_T),
        false_positives=tuple(int((flagged_at[value] & ~positive_N).sum()) for value in thresholds_T),
    )
