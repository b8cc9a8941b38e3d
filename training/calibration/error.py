"""The debiased calibration error of probabilities, its interval, and calibration slope and intercept.

A binned calibration error is never zero, not even of a perfect model: each bin's frequency has noise. The
estimate of Kumar, Liang and Ma (2019) subtracts the expected noise of each bin from its squared gap.

Legend: N units, B bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.calibration import logit
from cxrserve.ensemble.calibration import fit_logistic

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BINS: Final = 15
_RESAMPLES: Final = 1000
_Z95: Final = 1.959963984540054


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure with both ends of its 95 % interval."""

    value: float
    low: float
    high: float


def debiased_error(probabilities_N: Floats, positive_N: Bools, bins: int = BINS) -> float:
    """Root mean square gap between probability and frequency, in bins of equal count, without its bias.

    0 where the gaps are no larger than chance makes them.
    """
    return math.sqrt(max(0.0, _squared(probabilities_N, positive_N, bins)))


def _squared(probabilities_N: Floats, positive_N: Bools, bins: int) -> float:
    order = np.argsort(probabilities_N, kind="stable")
    edges = np.linspace(0, len(order), min(bins, len(order) // 2) + 1).astype(int)
    starts, counts_B = edges[:-1], np.diff(edges)
    mean_B = np.add.reduceat(probabilities_N[order], starts) / counts_B
    rate_B = np.add.reduceat(positive_N[order].astype(np.float64), starts) / counts_B
    noise_B = rate_B * (1 - rate_B) / (counts_B - 1)
    return float((counts_B * ((mean_B - rate_B) ** 2 - noise_B)).sum() / len(order))


def error_interval(
    probabilities_N: Floats, positive_N: Bools, group_N: NDArray[np.int64], *, bins: int = BINS, seed: int = 0
) -> Estimate:
    """The debiased error with a bootstrap interval over groups, which are patients.

    A resample counts some units twice, and its gaps hold the sample's own noise besides: the squared error
    of the resamples is centred on the estimate before its quantiles are taken.
    """
    groups = [np.flatnonzero(group_N == group) for group in np.unique(group_N)]
    random, squared = np.random.default_rng(seed), _squared(probabilities_N, positive_N, bins)
    alone = len(groups) == len(group_N)
    resampled = np.empty(_RESAMPLES)
    for number in range(_RESAMPLES):
        drawn = random.integers(0, len(groups), len(groups))
        rows = drawn if alone else np.concatenate([groups[group] for group in drawn])
        resampled[number] = _squared(probabilities_N[rows], positive_N[rows], bins)
    low, high = np.quantile(resampled - resampled.mean(), [0.025, 0.975])
    return Estimate(
        value=math.sqrt(max(0.0, squared)),
        low=math.sqrt(max(0.0, squared + low)),
        high=math.sqrt(max(0.0, squared + high)),
    )


def slope_and_intercept(probabilities_N: Floats, positive_N: Bools) -> tuple[Estimate, Estimate]:
    """Slope and intercept of the labels' logistic regression on the logit: 1 and 0 where calibrated."""
    fitted = fit_logistic(logit(probabilities_N), positive_N, ridge=0)
    errors = np.sqrt(np.diag(fitted.covariance))
    slope, intercept = (
        Estimate(value=value, low=value - _Z95 * error, high=value + _Z95 * error)
        for value, error in zip((fitted.slope, fitted.intercept), errors.tolist(), strict=True)
    )
    return slope, intercept
