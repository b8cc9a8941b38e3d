"""Calibration of a finding's score: a map with two or three parameters, as it is held in a bundle.

The score of the ensemble is a convex sum of the scales' probabilities, and such a sum is not calibrated even
where its members are (Ranjan and Gneiting 2010). Two maps from score s to probability p are known:

logistic    p = σ(slope · logit(s) + intercept)
beta        p = σ(slope · ln s − slope_high · ln(1 − s) + intercept)   (Kull, Silva Filho and Flach 2017)

The beta map is the logistic one where both slopes are equal; with two it bends: `slope` counts near a score
of 0, `slope_high` near 1. As the slopes are positive, both maps are strictly increasing: they change no
ranking, and they can be inverted.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cxrserve.schema import Strict

Floats = NDArray[np.float64]
Unit = Literal["images", "studies"]
CalibrationMethod = Literal["identity", "logistic", "beta"]

# The smallest distance from 0 and 1 at which a double still has a logit.
_EDGE: Final = float(np.finfo(np.float64).eps)
_MAX_STEPS: Final = 100
_CLOSE: Final = 1e-14


class Calibration(Strict):
    """The calibration of one finding: identity, logistic or beta."""

    method: CalibrationMethod = "logistic"
    slope: float = Field(1.0, gt=0, description="1 and an intercept of 0 change nothing.")
    slope_high: float | None = Field(
        None, gt=0, description="Beta: the slope of scores near 1, where `slope` is that near 0; else null."
    )
    intercept: float = Field(0.0, allow_inf_nan=False)
    data: str = Field(description="The data it was fitted on, in words.")
    events: int | None = Field(None, ge=0, description="Units with the finding in that data.")
    non_events: int | None = Field(None, ge=0, description="Units without the finding.")

    @model_validator(mode="after")
    def _check_parameters(self) -> Calibration:
        if self.method == "identity" and (self.slope != 1 or self.intercept != 0):
            raise ValueError(
                f"the identity has slope 1 and intercept 0, not {self.slope:g} and {self.intercept:g}"
            )
        if (self.method == "beta") != (self.slope_high is not None):
            raise ValueError(f"slope_high belongs to the method beta, and to no other; this is {self.method}")
        return self

    def logits(self, scores: NDArray[np.floating] | float) -> Floats:
        """Logits of the calibrated probabilities of `scores` between 0 and 1; NaN stays NaN."""
        if self.slope_high is None:
            return self.slope * logit(scores) + self.intercept
        inside = np.clip(np.asarray(scores, np.float64), _EDGE, 1 - _EDGE)
        values: Floats = self.slope * np.log(inside) - self.slope_high * np.log1p(-inside) + self.intercept
        return values

    def apply(self, scores: NDArray[np.floating] | float) -> Floats:
        """Calibrated probabilities of `scores` between 0 and 1; NaN stays NaN."""
        values: Floats = np.asarray(scores, np.float64)
        return values if self.method == "identity" else _sigmoid(self.logits(values))

    def invert(self, probabilities: NDArray[np.floating] | float) -> Floats:
        """The scores whose calibrated probabilities these are; NaN stays NaN."""
        values: Floats = np.asarray(probabilities, np.float64)
        if self.method == "identity":
            return values
        moved = logit(values) - self.intercept
        if self.slope_high is None:
            return _sigmoid(moved / self.slope)
        return _sigmoid(_beta_logit(moved, self.slope, self.slope_high))

    def followed_by(self, slope: float, intercept: float, data: str) -> Calibration:
        """One map for this one and p → σ(slope · logit(p) + intercept) after it; counts are left out."""
        return Calibration(
            method="beta" if self.slope_high is not None else "logistic",
            slope=slope * self.slope,
            slope_high=None if self.slope_high is None else slope * self.slope_high,
            intercept=slope * self.intercept + intercept,
            data=data,
        )


def identity(data: str = "nothing was fitted") -> Calibration:
    """The calibration that leaves scores as they are."""
    return Calibration(method="identity", data=data)


def logit(probability: NDArray[np.floating] | float) -> Floats:
    """ln(p / (1 − p)), with p kept off 0 and 1 by the smallest step a double has near 1."""
    inside = np.clip(np.asarray(probability, np.float64), _EDGE, 1 - _EDGE)
    value: Floats = np.log(inside) - np.log1p(-inside)
    return value


def _beta_logit(target: Floats, slope: float, slope_high: float) -> Floats:
    """The logit x of the score with slope · ln σ(x) − slope_high · ln σ(−x) = target.

    The left side increases with x and bends to one side only, so that Newton's steps end at x.
    """
    x: Floats = target / np.where(target > 0, slope_high, slope)
    for _ in range(_MAX_STEPS):
        with np.errstate(invalid="ignore"):  # NaN stays NaN
            gap = slope_high * np.logaddexp(0, x) - slope * np.logaddexp(0, -x) - target
        step = gap / (slope_high * _sigmoid(x) + slope * _sigmoid(-x))
        x = x - step
        if not np.any(np.abs(step) > _CLOSE * np.maximum(1, np.abs(x))):
            break
    return x


def _sigmoid(logits: Floats) -> Floats:
    small = np.exp(-np.abs(logits))
    probability: Floats = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return probability
