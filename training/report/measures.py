"""Measures of ranking and of calibration, with their uncertainty. Scores and labels in, figures out.

Legend: N images, P those with the finding, Q those without.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]
AucTable = dict[str, dict[str, float | None]]

# The two-sided 95 % point of the normal distribution.
Z95: Final = 1.959963984540054
BINS: Final = 10
# Thresholds of a decision curve.
THRESHOLDS_T: Final = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A figure and its 95 % confidence interval; `low` and `high` are None where there is none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Placements:
    """DeLong's structural components (DeLong, DeLong, Clarke-Pearson 1988).

    Attributes:
        present_P: for each image with the finding, the share of those without it that score lower.
        absent_Q: for each image without the finding, the share of those with it that score higher.
        present_cluster_P, absent_cluster_Q: int64, equal for images of one patient.
    """

    present_P: Floats
    absent_Q: Floats
    present_cluster_P: Integers
    absent_cluster_Q: Integers

    @property
    def auc(self) -> float:
        return float(self.present_P.mean())


def placements(
    scores_N: NDArray[np.floating], positive_N: Bools, cluster_N: Integers | None = None
) -> Placements | None:
    """The components of `scores_N`, ties counting half; None where a class is missing.

    Args:
        cluster_N: int64 [N], equal for images of one patient; each image is its own patient if None.
    """
    present_P, absent_Q = scores_N[positive_N], scores_N[~positive_N]
    if not len(present_P) or not len(absent_Q):
        return None
    clusters_N = np.arange(len(scores_N)) if cluster_N is None else cluster_N
    return Placements(
        present_P=_share_below(present_P, absent_Q),
        absent_Q=1 - _share_below(absent_Q, present_P),
        present_cluster_P=clusters_N[positive_N],
        absent_cluster_Q=clusters_N[~positive_N],
    )


def _share_below(scores_M: NDArray[np.floating], other_scores: NDArray[np.floating]) -> Floats:
    ordered = np.sort(other_scores)
    below, not_above = (np.searchsorted(ordered, scores_M, side) for side in ("left", "right"))
    share: Floats = (below + not_above) / (2 * len(other_scores))
    return share


def auc_interval(components: Placements) -> Interval:
    """The AUC and its interval by patient, made on the scale of its logit so that it stays in 0 to 1.

    The variance is DeLong's where each patient has one image, and Obuchowski's (Biometrics 53:567, 1997),
    which extends it to clusters, where patients have several. An AUC of exactly 0 or 1 has no interval: its
    estimated variance is zero, which says nothing.
    """
    auc, error = components.auc, _standard_error(components, components.present_P, components.absent_Q)
    if not error or not 0 < auc < 1:
        return Interval(value=auc, low=None, high=None)
    middle, reach = math.log(auc / (1 - auc)), Z95 * error / (auc * (1 - auc))
    low, high = (1 / (1 + math.exp(-logit)) for logit in (middle - reach, middle + reach))
    return Interval(value=auc, low=low, high=high)


def difference_interval(first: Placements, second: Placements) -> Interval:
    """`first`'s AUC less `second`'s on the same images, with the interval for paired curves by patient."""
    difference = first.auc - second.auc
    error = _standard_error(first, first.present_P - second.present_P, first.absent_Q - second.absent_Q)
    if not error:
        return Interval(value=difference, low=None, high=None)
    return Interval(value=difference, low=difference - Z95 * error, high=difference + Z95 * error)


def _standard_error(clusters: Placements, present_P: Floats, absent_Q: Floats) -> float | None:
    """Obuchowski's standard error of the mean of the components, with the clusters of `clusters`.

    None with fewer than two patients of either kind.
    """
    names, cluster_N = np.unique(
        np.concatenate([clusters.present_cluster_P, clusters.absent_cluster_Q]), return_inverse=True
    )
    of_present_P, of_absent_Q = np.split(cluster_N, [len(present_P)])
    present_C, with_it = _residuals(present_P, of_present_P, len(names))
    absent_C, without_it = _residuals(absent_Q, of_absent_Q, len(names))
    if with_it < 2 or without_it < 2:
        return None
    variance = (
        with_it / (with_it - 1) * (present_C @ present_C) / len(present_P) ** 2
        + without_it / (without_it - 1) * (absent_C @ absent_C) / len(absent_Q) ** 2
        + 2 * len(names) / (len(names) - 1) * (present_C @ absent_C) / (len(present_P) * len(absent_Q))
    )
    return math.sqrt(max(0.0, float(variance)))


def _residuals(values_N: Floats, cluster_N: Integers, clusters: int) -> tuple[Floats, int]:
    """Sums of the distances from the mean in each cluster, and the number of clusters that have values."""
    sums: Floats = np.bincount(cluster_N, values_N - values_N.mean(), clusters).astype(np.float64)
    return sums, int((np.bincount(cluster_N, minlength=clusters) > 0).sum())


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
    """

    brier: float
    ece: float
    probability_B: tuple[float, ...]
    frequency_B: tuple[float, ...]
    count_B: tuple[int, ...]


def calibration(probabilities_N: Floats, positive_N: Bools, bins: int = BINS) -> Calibration:
    """Calibration of `probabilities_N` in `bins` bins between 0 and 1."""
    place_N = np.minimum((probabilities_N * bins).astype(np.int64), bins - 1)
    count = np.bincount(place_N, minlength=bins)
    filled = count > 0
    mean = np.bincount(place_N, probabilities_N, bins)[filled] / count[filled]
    frequency = np.bincount(place_N, positive_N.astype(np.float64), bins)[filled] / count[filled]
    return Calibration(
        brier=float(((probabilities_N - positive_N) ** 2).mean()),
        ece=float((count[filled] * np.abs(mean - frequency)).sum() / len(place_N)),
        probability_B=tuple(mean.tolist()),
        frequency_B=tuple(frequency.tolist()),
        count_B=tuple(count[filled].tolist()),
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


def auc(scores_N: NDArray[np.floating], labels_N: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve; ties count half. None where a class is missing."""
    components = placements(scores_N, labels_N > 0.5)
    return None if components is None else components.auc


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
