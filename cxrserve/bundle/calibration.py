"""Calibration of a finding's score: a logistic map with two parameters, as it is held in a bundle.

The score of the ensemble is a convex sum of the scales' probabilities, and such a sum is not calibrated even
where its members are (Ranjan and Gneiting 2010). The map p = σ(slope · logit(score) + intercept) with
slope > 0 is strictly increasing: it changes no ranking, and it can be inverted.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cxrserve.schema import Strict

Floats = NDArray[np.float64]
Unit = Literal["images", "studies"]
CalibrationMethod = Literal["identity", "logistic"]

# The smallest distance from 0 and 1 at which a double still has a logit.
_EDGE: Final = float(np.finfo(np.float64).eps)


class Calibration(Strict):
    """The calibration of one finding: identity, or p = σ(slope · logit(score) + intercept)."""

    method: CalibrationMethod = "logistic"
    slope: float = Field(1.0, gt=0, description="1 and an intercept of 0 change nothing.")
    intercept: float = Field(0.0, allow_inf_nan=False)
    data: str = Field(description="The data it was fitted on, in words.")
    events: int | None = Field(None, ge=0, description="Units with the finding in that data.")
    non_events: int | None = Field(None, ge=0, description="Units without the finding.")

    @model_validator(mode="after")
    def _check_identity(self) -> Calibration:
        if self.method == "identity" and (self.slope != 1 or self.intercept != 0):
            raise ValueError(
                f"the identity has slope 1 and intercept 0, not {self.slope:g} and {self.intercept:g}"
            )
        return self

    def apply(self, scores: NDArray[np.floating] | float) -> Floats:
        """Calibrated probabilities of `scores` between 0 and 1; NaN stays NaN."""
        values: Floats = np.asarray(scores, np.float64)
        if self.method == "identity":
            return values
        return _sigmoid(self.slope * logit(values) + self.intercept)

    def invert(self, probabilities: NDArray[np.floating] | float) -> Floats:
        """The scores whose calibrated probabilities these are; NaN stays NaN."""
        values: Floats = np.asarray(probabilities, np.float64)
        if self.method == "identity":
            return values
        return _sigmoid((logit(values) - self.intercept) / self.slope)


def identity(data: str = "nothing was fitted") -> Calibration:
    """The calibration that leaves scores as they are."""
    return Calibration(method="identity", data=data)


def logit(probability: NDArray[np.floating] | float) -> Floats:
    """ln(p / (1 − p)), with p kept off 0 and 1 by the smallest step a double has near 1."""
    inside = np.clip(np.asarray(probability, np.float64), _EDGE, 1 - _EDGE)
    value: Floats = np.log(inside) - np.log1p(-inside)
    return value


def _sigmoid(logits: Floats) -> Floats:
    small = np.exp(-np.abs(logits))
    probability: Floats = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return probability
