"""Curves, measures of calibration, and decision curves. Scores and labels in, figures out.

The AUC and its intervals are in `cxrserve.reports.ranking`. Legend: N images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.reports.ranking import Z95
from training.triage.check import clopper_pearson

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]
AucTable = dict[str, dict[str, float | None]]

BINS: Final = 10
# Thresholds of a decision curve.
THRESHOLDS_T: Final = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Points of a curve, from the highest threshold to the lowest."""

    x: Floats
    y: Floats


def roc(scores_N: NDArray[np.floating], positive_N: Bools) -> Curve:
    """False positive rate against sensitivity; one point for each distinct score, from (0, 0) to (1, 1)."""
    true, false = _counts(scores_N, positive_N)
    return Curve(
        x=np.concatenate([[0.0], false / max(1, false[-1])]),
        y=np.concatenate([[0.0], true / max(1, true[-1])]),
    )


def precision_recall(scores_N: NDArray[np.floating], positive_N: Bools) -> Curve:
    """Recall against precision; one point for each distinct score."""
    true, false = _counts(scores_N, positive_N)
    return Curve(x=true / max(1, true[-1]), y=true / (true + false))


def average_precision(scores_N: NDArray[np.floating], positive_N: Bools) -> float | None:
    """Σ (recall step) × precision, without interpolation; None where the finding is never there."""
    if not positive_N.any():
        return None
    curve = precision_recall(scores_N, positive_N)
    return float((np.diff(curve.x, prepend=0.0) * curve.y).sum())


def _counts(scores_N: NDArray[np.floating], positive_N: Bools) -> tuple[Floats, Floats]:
    """True and false positives at each distinct score, taken as threshold, falling."""
    order = np.argsort(-scores_N, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores_N[order])), len(order) - 1)
    true = np.cumsum(positive_N[order])[last].astype(np.float64)
    return true, last + 1 - true


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Calibration: probabilities against frequencies, in bins of equal width.

    Attributes:
        brier: mean squared distance of the probability from what is true.
        ece: expected calibration error, Σ (share of images) × |mean probability − frequency| over the bins.
        probability_B, frequency_B, count_B: by bin; empty bins are left out.
        low_B, high_B: Clopper and Pearson's 95 % interval of the frequency.
    """

    brier: float
    ece: float
    probability_B: tuple[float, ...]
    frequency_B: tuple[float, ...]
    count_B: tuple[int, ...]
    low_B: tuple[float, ...]
    high_B: tuple[float, ...]


def calibration(probabilities_N: Floats, positive_N: Bools, bins: int = BINS) -> Calibration:
    """Calibration of `probabilities_N` in `bins` bins between 0 and 1."""
    place_N = np.minimum((probabilities_N * bins).astype(np.int64), bins - 1)
    count = np.bincount(place_N, minlength=bins)
    filled = count > 0
    mean = np.bincount(place_N, probabilities_N, bins)[filled] / count[filled]
    events = np.bincount(place_N[positive_N], minlength=bins)[filled]
    frequency = events / count[filled]
    bounds = [
        clopper_pearson(present, images)
        for present, images in zip(events.tolist(), count[filled].tolist(), strict=True)
    ]
    return Calibration(
        brier=float(((probabilities_N - positive_N) ** 2).mean()),
        ece=float((count[filled] * np.abs(mean - frequency)).sum() / len(place_N)),
        probability_B=tuple(mean.tolist()),
        frequency_B=tuple(frequency.tolist()),
        count_B=tuple(count[filled].tolist()),
        low_B=tuple(low for low, _ in bounds),
        high_B=tuple(high for _, high in bounds),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionCurve:
    """Net benefit of flagging by a probability, as a share of what a perfect model gains.

    Attributes:
        threshold_T: `THRESHOLDS_T`.
        value_T: net benefit at each threshold; `low_T` and `high_T` are its 95 % band.
        all_T: net benefit of flagging all.
    """

    threshold_T: tuple[float, ...]
    value_T: tuple[float, ...]
    low_T: tuple[float, ...]
    high_T: tuple[float, ...]
    all_T: tuple[float, ...]


def decision_curve(probabilities_N: Floats, positive_N: Bools, cluster_N: Integers) -> DecisionCurve | None:
    """Net benefit (Vickers and Elkin 2006) at each threshold, divided by the finding's share (Kerr 2016).

    At threshold t a false alarm costs t / (1 − t) of what a hit gains. The band is normal, from the spread of
    the patients' own sums; the finding's share is taken as known. None where nobody has the finding.
    """
    if not positive_N.any():
        return None
    prevalence = float(positive_N.mean())
    costs_T = THRESHOLDS_T / (1 - THRESHOLDS_T)
    flagged_NT = probabilities_N[:, None] >= THRESHOLDS_T
    gains_NT = np.where(positive_N[:, None], 1.0, -costs_T) * flagged_NT / prevalence
    _, patient_N = np.unique(cluster_N, return_inverse=True)
    value_T = gains_NT.mean(axis=0)
    sums_PT = np.zeros((int(patient_N.max()) + 1, len(THRESHOLDS_T)))
    np.add.at(sums_PT, patient_N, gains_NT - value_T)
    error_T = np.sqrt((sums_PT**2).sum(axis=0)) / len(gains_NT)
    return DecisionCurve(
        threshold_T=tuple(THRESHOLDS_T.tolist()),
        value_T=tuple(value_T.tolist()),
        low_T=tuple((value_T - Z95 * error_T).tolist()),
        high_T=tuple((value_T + Z95 * error_T).tolist()),
        all_T=tuple((1 - (1 - prevalence) / prevalence * costs_T).tolist()),
    )


def accuracy(probabilities_N: Floats, positive_N: Bools) -> float | None:
    """Share of images that are right at a probability of one half; None without images."""
    return float(((probabilities_N >= 0.5) == positive_N).mean()) if len(positive_N) else None


def distinct(groups: Sequence[Collection[str]]) -> bool:
    """True if no name is in two of the groups."""
    return sum(map(len, groups)) == len(set().union(*groups))


def means(table: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """Mean of each column over the findings that have a value in every column; NaN where there are none.

    Means over different findings cannot be compared.
    """
    columns = list(next(iter(table.values())))
    rows = [row for row in table.values() if all(row.get(column) is not None for column in columns)]
    return {column: float(np.mean([row[column] for row in rows] or [np.nan])) for column in columns}
