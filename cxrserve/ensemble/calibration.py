"""Fit of a `Calibration`: logistic regression on the score's logit, with a ridge toward "no change".

The penalty λ(slope − 1)²/2 keeps the slope near 1 where there are few events; the intercept, which moves
the prevalence, is free. Newton's method with halved steps; the loss is convex.

Legend: N units (images or studies), F findings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.calibration import Calibration, Unit, identity, logit
from cxrserve.bundle.contract import Contract
from cxrserve.bundle.operating_point import Decision
from cxrserve.ensemble.stack import sigmoid
from cxrserve.findings import NAMES

__all__ = [
    "MIN_EVENTS",
    "MIN_SLOPE",
    "RIDGE",
    "Calibration",
    "Fit",
    "calibrated",
    "decision",
    "fit",
    "fit_logistic",
    "log_loss",
    "score_threshold",
    "score_thresholds",
    "thresholds",
]

Floats = NDArray[np.float64]

# Penalty on (slope − 1)²/2, in units of the summed log loss.
RIDGE: Final = 20.0
# A slope below this would turn the map into a constant; the map must stay strictly increasing.
MIN_SLOPE: Final = 0.02
# With fewer units of a class than this, nothing is fitted.
MIN_EVENTS: Final = 5

_MAX_STEPS: Final = 100
_TOLERANCE: Final = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Slope and intercept of p = σ(slope · x + intercept), with the inverse of their information matrix.

    Attributes:
        covariance: float64 [2, 2], of slope and intercept, without the penalty's share.
    """

    slope: float
    intercept: float
    covariance: Floats


def fit(
    scores_N: NDArray[np.floating],
    positive_N: NDArray[np.bool_],
    *,
    data: str,
    ridge: float = RIDGE,
    min_events: int = MIN_EVENTS,
) -> Calibration:
    """The calibration of a finding's scores; identity where a class has fewer than `min_events` units.

    Args:
        scores_N: between 0 and 1, without NaN.
        data: the data in words.
    """
    positive_N = np.asarray(positive_N, np.bool_)
    events, non_events = int(positive_N.sum()), int((~positive_N).sum())
    if min(events, non_events) < min_events:
        unchanged = identity(f"{data}: too few, {events} with the finding and {non_events} without")
        return unchanged.model_copy(update={"events": events, "non_events": non_events})
    fitted = fit_logistic(logit(scores_N), positive_N, ridge=ridge)
    return Calibration(
        slope=fitted.slope, intercept=fitted.intercept, data=data, events=events, non_events=non_events
    )


def fit_logistic(logits_N: Floats, positive_N: NDArray[np.bool_], *, ridge: float = RIDGE) -> Fit:
    """Slope and intercept that minimise summed log loss + ridge · (slope − 1)²/2, slope ≥ `MIN_SLOPE`.

    Args:
        positive_N: both classes must occur.

    Raises:
        ValueError: only one class occurs.
    """
    target_N = np.asarray(positive_N, np.float64)
    if not 0 < target_N.sum() < len(target_N):
        raise ValueError("a calibration needs units with the finding and units without it")
    start = np.array([1.0, 0.0])
    parameters = _newton(logits_N, target_N, ridge, start, free=np.array([True, True]))
    if parameters[0] < MIN_SLOPE:
        start = np.array([MIN_SLOPE, 0.0])
        parameters = _newton(logits_N, target_N, ridge, start, free=np.array([False, True]))
    covariance: Floats = np.linalg.pinv(_hessian(logits_N, parameters)).astype(np.float64)
    return Fit(
        slope=float(parameters[0]),
        intercept=float(parameters[1]),
        covariance=covariance,
    )


def log_loss(probabilities_N: NDArray[np.floating], positive_N: NDArray[np.bool_]) -> float:
    """Mean log loss in nats; probabilities of exactly 0 and 1 count as the nearest double."""
    logits_N = logit(probabilities_N)
    return float(np.logaddexp(0.0, np.where(positive_N, -logits_N, logits_N)).mean())


def calibrated(scores_NF: NDArray[np.floating], contract: Contract, unit: Unit = "images") -> Floats:
    """Probabilities [..., F] of a bundle's scores [..., F]; a score that is NaN stays NaN."""
    scores_NF = np.asarray(scores_NF, np.float64)
    columns = [
        contract.calibration_of(name, unit).apply(scores_NF[..., index]) for index, name in enumerate(NAMES)
    ]
    return np.stack(columns, axis=-1)


def thresholds(contract: Contract, unit: Unit = "images") -> Floats:
    """Operating points of the probabilities, float64 [F]; NaN for findings that no member supports."""
    points = [contract.point_of(name, unit) for name in NAMES]
    return np.array([np.nan if point is None else point.threshold for point in points], np.float64)


def score_thresholds(contract: Contract, unit: Unit = "images") -> Floats:
    """Operating points as scores: the calibration's inverse of `thresholds`.

    As the calibration is strictly increasing, a decision on the score at these thresholds is the decision
    on the probability; triage bounds scores, and decides with them.
    """
    return np.array([score_threshold(name, contract, unit) for name in NAMES])


def score_threshold(name: str, contract: Contract, unit: Unit = "images") -> float:
    """The operating point of finding `name` as a score; NaN where no member supports it."""
    point = contract.point_of(name, unit)
    return math.nan if point is None else float(contract.calibration_of(name, unit).invert(point.threshold))


def decision(name: str, probability: float, contract: Contract, unit: Unit = "images") -> Decision | None:
    """Presence of finding `name` at a calibrated probability; None where that is NaN."""
    point = contract.point_of(name, unit)
    return None if point is None or math.isnan(probability) else point.decision(probability)


def _newton(
    logits_N: Floats, target_N: Floats, ridge: float, parameters: Floats, free: NDArray[np.bool_]
) -> Floats:
    """Minimise over the `free` parameters of (slope, intercept)."""
    loss = _penalised(logits_N, target_N, ridge, parameters)
    for _ in range(_MAX_STEPS):
        residual_N = sigmoid(parameters[0] * logits_N + parameters[1]) - target_N
        gradient = np.array([residual_N @ logits_N + ridge * (parameters[0] - 1), residual_N.sum()])
        hessian = _hessian(logits_N, parameters) + np.diag([ridge, 0.0])
        # Far from the optimum the curvature may vanish: a trace of the identity keeps the step finite.
        hessian += np.eye(2) * 1e-12 * max(1.0, float(np.trace(hessian)))
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        size = 1.0
        while size > 1e-10:
            candidate = parameters - size * step
            candidate_loss = _penalised(logits_N, target_N, ridge, candidate)
            if candidate_loss <= loss:
                break
            size /= 2
        else:
            break
        moved = float(np.abs(candidate - parameters).max())
        parameters, loss = candidate, candidate_loss
        if moved < _TOLERANCE:
            break
    return parameters


def _penalised(logits_N: Floats, target_N: Floats, ridge: float, parameters: Floats) -> float:
    values_N = parameters[0] * logits_N + parameters[1]
    loss = float((np.logaddexp(0.0, values_N) - target_N * values_N).sum())
    return loss + ridge * (float(parameters[0]) - 1) ** 2 / 2


def _hessian(logits_N: Floats, parameters: Floats) -> Floats:
    values_N = parameters[0] * logits_N + parameters[1]
    weight_N = sigmoid(values_N) * sigmoid(-values_N)
    cross = float(weight_N @ logits_N)
    return np.array([[float(weight_N @ logits_N**2), cross], [cross, float(weight_N.sum())]])
