"""Fit of a `Calibration`: logistic or beta regression on the score, with a ridge toward "no change".

The penalty λ(slope − 1)²/2 keeps each slope near 1 where there are few events; the intercept, which moves
the prevalence, is free. Newton's method with halved steps; the loss is convex.

Legend: N units (images or studies), F findings, K parameters, the intercept last.
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
    "fit_beta",
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
    before: Calibration | None = None,
) -> Calibration:
    """The calibration of a finding's scores; `before` where a class has fewer than `min_events` units.

    Args:
        scores_N: between 0 and 1, without NaN.
        data: the data in words.
        before: "no change", toward which the ridge pulls: a logistic map after it is fitted, and both are
            one. The identity if None.
    """
    positive_N, start = np.asarray(positive_N, np.bool_), before or identity()
    events, non_events = int(positive_N.sum()), int((~positive_N).sum())
    counts = {"events": events, "non_events": non_events}
    if min(events, non_events) < min_events:
        few = f"{data}: too few, {events} with the finding and {non_events} without"
        return start.model_copy(update={"data": few, **counts})
    fitted = fit_logistic(start.logits(scores_N), positive_N, ridge=ridge)
    return start.followed_by(fitted.slope, fitted.intercept, data).model_copy(update=counts)


def fit_beta(
    scores_N: NDArray[np.floating], positive_N: NDArray[np.bool_], *, data: str, ridge: float = RIDGE
) -> Calibration:
    """The beta calibration of a finding's scores: summed log loss + ridge · Σ (slope − 1)²/2 is least.

    Args:
        scores_N: between 0 and 1, without NaN.
        positive_N: both classes must occur.
        data: the data in words.
    """
    inside_N = np.clip(np.asarray(scores_N, np.float64), 1e-15, 1 - 1e-15)
    columns_NK = np.column_stack([np.log(inside_N), -np.log1p(-inside_N), np.ones(len(inside_N))])
    low, high, intercept = _least_loss(columns_NK, positive_N, ridge).tolist()
    return Calibration(
        method="beta",
        slope=low,
        slope_high=high,
        intercept=intercept,
        data=data,
        events=int(positive_N.sum()),
        non_events=int((~positive_N).sum()),
    )


def fit_logistic(logits_N: Floats, positive_N: NDArray[np.bool_], *, ridge: float = RIDGE) -> Fit:
    """Slope and intercept that minimise summed log loss + ridge · (slope − 1)²/2, slope ≥ `MIN_SLOPE`.

    Args:
        positive_N: both classes must occur.

    Raises:
        ValueError: only one class occurs.
    """
    columns_NK = np.column_stack([logits_N, np.ones(len(logits_N))])
    parameters_K = _least_loss(columns_NK, positive_N, ridge)
    covariance: Floats = np.linalg.pinv(_hessian(columns_NK, parameters_K)).astype(np.float64)
    return Fit(slope=float(parameters_K[0]), intercept=float(parameters_K[1]), covariance=covariance)


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


def _least_loss(columns_NK: Floats, positive_N: NDArray[np.bool_], ridge: float) -> Floats:
    """Parameters [K] of least penalised loss with slopes of `MIN_SLOPE` or more; the intercept is the last.

    Raises:
        ValueError: only one class occurs.
    """
    target_N = np.asarray(positive_N, np.float64)
    if not 0 < target_N.sum() < len(target_N):
        raise ValueError("a calibration needs units with the finding and units without it")
    start_K = np.ones(columns_NK.shape[1])
    start_K[-1] = 0.0
    free_K = np.ones(len(start_K), np.bool_)
    while True:
        parameters_K = _newton(columns_NK, target_N, ridge, start_K, free_K)
        slopes = parameters_K[:-1]
        low_K = np.append((slopes < MIN_SLOPE) & free_K[:-1], False)
        if not low_K.any():
            return parameters_K
        # The slope that fell furthest is held at the bound, and the others are fitted again.
        furthest = int(np.argmin(np.where(low_K[:-1], slopes, np.inf)))
        free_K[furthest] = False
        start_K[furthest] = MIN_SLOPE


def _newton(
    columns_NK: Floats, target_N: Floats, ridge: float, parameters_K: Floats, free_K: NDArray[np.bool_]
) -> Floats:
    """Minimise over the `free_K` parameters from `parameters_K` on."""
    penalty_K = np.full(len(parameters_K), ridge)
    penalty_K[-1] = 0.0
    parameters_K = parameters_K.copy()
    loss = _penalised(columns_NK, target_N, penalty_K, parameters_K)
    for _ in range(_MAX_STEPS):
        residual_N = sigmoid(columns_NK @ parameters_K) - target_N
        gradient_K = columns_NK.T @ residual_N + penalty_K * (parameters_K - 1)
        hessian_KK = _hessian(columns_NK, parameters_K) + np.diag(penalty_K)
        # Far from the optimum the curvature may vanish: a trace of the identity keeps the step finite.
        hessian_KK += np.eye(len(penalty_K)) * 1e-12 * max(1.0, float(np.trace(hessian_KK)))
        step_K = np.zeros(len(penalty_K))
        step_K[free_K] = np.linalg.solve(hessian_KK[np.ix_(free_K, free_K)], gradient_K[free_K])
        size = 1.0
        while size > 1e-10:
            candidate_K = parameters_K - size * step_K
            candidate_loss = _penalised(columns_NK, target_N, penalty_K, candidate_K)
            if candidate_loss <= loss:
                break
            size /= 2
        else:
            break
        moved = float(np.abs(candidate_K - parameters_K).max())
        parameters_K, loss = candidate_K, candidate_loss
        if moved < _TOLERANCE:
            break
    return parameters_K


def _penalised(columns_NK: Floats, target_N: Floats, penalty_K: Floats, parameters_K: Floats) -> float:
    values_N = columns_NK @ parameters_K
    loss = float((np.logaddexp(0.0, values_N) - target_N * values_N).sum())
    return loss + float((penalty_K * (parameters_K - 1) ** 2).sum()) / 2


def _hessian(columns_NK: Floats, parameters_K: Floats) -> Floats:
    values_N = columns_NK @ parameters_K
    weight_N = sigmoid(values_N) * sigmoid(-values_N)
    curvature_KK: Floats = (columns_NK * weight_N[:, None]).T @ columns_NK
    return curvature_KK
