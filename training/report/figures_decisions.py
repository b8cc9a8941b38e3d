"""Figures of the probabilities themselves: how often they come true, and what deciding by them gains.

Legend: N films or studies, T thresholds, B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrserve.findings import NAMES
from cxrserve.site.points import share
from training.report.evaluation import Evaluation, FindingResult
from training.report.figures_scores import panels_of
from training.report.measures import Z95, Calibration
from training.report.pooled import Pooled
from training.report.scores import STACK, Scores
from training.report.style import FAINT, INK, PAPER, RULE, SCALE_COLOURS, drawn

Floats = NDArray[np.float64]
THRESHOLDS_T: Final = np.linspace(0.01, 0.99, 99)
_BAND: Final = SCALE_COLOURS[3]


class NetBenefit(NamedTuple):
    """Net benefit as a share of the finding's own share, with its 95 % band; and that of flagging all."""

    value_T: Floats
    low_T: Floats
    high_T: Floats
    all_T: Floats


def calibration_figure(evaluation: Evaluation) -> Figure:
    """Reliability of the stack's probabilities: in bins, how often the finding was there."""
    evaluated = [result for result in evaluation.findings if result.calibration and result.auc]
    with drawn():
        figure, panels, _ = panels_of(evaluated, "probability", "frequency")
        for axes, result in zip(panels, evaluated, strict=True):
            assert result.calibration is not None
            _draw_reliability(axes, result.calibration)
    return figure


def _draw_reliability(axes: Axes, calibration: Calibration) -> None:
    shares = [
        share(round(frequency * count), count)
        for frequency, count in zip(calibration.frequency_B, calibration.count_B, strict=True)
    ]
    axes.vlines(
        calibration.probability_B,
        [each.low for each in shares],
        [each.high for each in shares],
        color=_BAND,
        alpha=0.4,
        linewidth=4,
    )
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    axes.plot(calibration.probability_B, calibration.frequency_B, color=INK, linewidth=1.1, clip_on=False)
    max_count = max(calibration.count_B)
    axes.scatter(
        calibration.probability_B,
        calibration.frequency_B,
        [8 + 55 * count / max_count for count in calibration.count_B],
        color=INK,
        edgecolors=PAPER,
        linewidths=0.6,
        zorder=3,
        clip_on=False,
    )
    axes.text(0.98, 0.04, f"ECE {calibration.ece:.3f}", ha="right", fontsize=8.5)


def decision_figure(scores: Scores | Pooled, results: Sequence[FindingResult]) -> Figure:
    """Decision curve of each finding: the net benefit of flagging by the stack, by the threshold."""
    evaluated = [result for result in results if STACK in result.auc]
    with drawn():
        figure, panels, _ = panels_of(evaluated, "threshold", "net benefit")
        for axes, result in zip(panels, evaluated, strict=True):
            index = NAMES.index(result.name)
            known_N, positive_N = scores.labelled(index)
            probabilities_N = scores.probabilities(index)[STACK][known_N]
            _draw_benefit(
                axes, net_benefit(probabilities_N, positive_N, scores.cluster_N[known_N]), result.threshold
            )
    return figure


def _draw_benefit(axes: Axes, benefit: NetBenefit, threshold: float | None) -> None:
    axes.axhline(0, color=RULE, linewidth=0.8)
    axes.plot(THRESHOLDS_T, benefit.all_T, color=FAINT, linewidth=0.9, linestyle="--")
    axes.fill_between(
        THRESHOLDS_T, benefit.low_T, benefit.high_T, color=_BAND, alpha=0.22, linewidth=0, zorder=1
    )
    axes.plot(THRESHOLDS_T, benefit.value_T, color=INK, linewidth=1.4)
    if threshold is not None:
        axes.axvline(threshold, color=FAINT, linewidth=0.8, linestyle=":")


def net_benefit(
    probabilities_N: Floats, positive_N: NDArray[np.bool_], cluster_N: NDArray[np.int64]
) -> NetBenefit:
    """Net benefit (Vickers and Elkin 2006) at each threshold, divided by the finding's share (Kerr 2016).

    At threshold t a false alarm costs t / (1 − t) of what a hit gains. The band is normal, from the spread of
    the patients' own sums; the finding's share is taken as known.
    """
    prevalence = float(positive_N.mean())
    costs_T = THRESHOLDS_T / (1 - THRESHOLDS_T)
    flagged_NT = probabilities_N[:, None] >= THRESHOLDS_T
    gains_NT = np.where(positive_N[:, None], 1.0, -costs_T) * flagged_NT / prevalence
    _, patient_N = np.unique(cluster_N, return_inverse=True)
    value_T = gains_NT.mean(axis=0)
    sums_PT = np.zeros((int(patient_N.max()) + 1, len(THRESHOLDS_T)))
    np.add.at(sums_PT, patient_N, gains_NT - value_T)
    error_T = np.sqrt((sums_PT**2).sum(axis=0)) / len(gains_NT)
    return NetBenefit(
        value_T=value_T,
        low_T=value_T - Z95 * error_T,
        high_T=value_T + Z95 * error_T,
        all_T=1 - (1 - prevalence) / prevalence * costs_T,
    )
