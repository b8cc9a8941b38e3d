"""The AUC of scores, and its interval by patient. Scores and labels in, figures out.

Legend: N images, P those with the finding, Q those without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

# The two-sided 95 % point of the normal distribution.
Z95: Final = 1.959963984540054


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


def auc(scores_N: NDArray[np.floating], labels_N: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve; ties count half. None where a class is missing."""
    components = placements(scores_N, labels_N > 0.5)
    return None if components is None else components.auc
