"""Figures of decisions: how often probabilities come true, what deciding by them gains, who is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from training.report.evaluation import Evaluation, FindingResult
from training.report.figures_scores import panels_of
from training.report.film_check_groups import FilmCheckResult
from training.report.measures import Calibration, DecisionCurve
from training.report.style import FAINT, INK, PAPER, RULE, SCALE_COLOURS, WIDTH, drawn, new_figure

_BAND: Final = SCALE_COLOURS[3]
_ALARM: Final = SCALE_COLOURS[1]


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
    axes.vlines(
        calibration.probability_B,
        calibration.low_B,
        calibration.high_B,
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


def decision_figure(results: Sequence[FindingResult]) -> Figure:
    """Decision curve of each finding: the net benefit of flagging by the stack, by the threshold."""
    evaluated = [result for result in results if result.decisions and result.auc]
    with drawn():
        figure, panels, _ = panels_of(evaluated, "threshold", "net benefit")
        for axes, result in zip(panels, evaluated, strict=True):
            assert result.decisions is not None
            _draw_benefit(axes, result.decisions, result.threshold)
    return figure


def _draw_benefit(axes: Axes, curve: DecisionCurve, threshold: float | None) -> None:
    axes.axhline(0, color=RULE, linewidth=0.8)
    axes.plot(curve.threshold_T, curve.all_T, color=FAINT, linewidth=0.9, linestyle="--")
    axes.fill_between(
        curve.threshold_T, curve.low_T, curve.high_T, color=_BAND, alpha=0.22, linewidth=0, zorder=1
    )
    axes.plot(curve.threshold_T, curve.value_T, color=INK, linewidth=1.4)
    if threshold is not None:
        axes.axvline(threshold, color=FAINT, linewidth=0.8, linestyle=":")


def refusals_figure(result: FilmCheckResult) -> Figure:
    """The share of each group that the film check refuses, and warns of, with intervals."""
    with drawn():
        figure = new_figure(0.9 + 0.3 * len(result.groups), WIDTH)
        refused, warned = figure.subplots(1, 2, sharey=True)
        everybody = result.groups[0]
        for axes, shares, words in (
            (refused, [group.refused for group in result.groups], "refused"),
            (warned, [group.warned for group in result.groups], "answered with a warning"),
        ):
            whole = (everybody.refused if axes is refused else everybody.warned).value
            axes.axvline(whole, color=FAINT, linewidth=0.8, linestyle=":")
            for row, (group, interval) in enumerate(zip(result.groups, shares, strict=True)):
                marked = axes is refused and group.uneven
                colour = _ALARM if marked else INK
                axes.plot([interval.low or 0.0, interval.high or 0.0], [row, row], color=colour, alpha=0.45)
                axes.plot([interval.value], [row], "D" if marked else "o", color=colour, markersize=5)
            axes.set_xlabel(f"share {words}")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        labels = [f"{group.by}: {group.group}  ({group.images:,})" for group in result.groups]
        labels[0] = f"all images  ({everybody.images:,})"
        refused.set_yticks(range(len(labels)), labels, color=INK)
        refused.set_ylim(len(labels) - 0.5, -0.5)
        for axes in (refused, warned):
            axes.tick_params(axis="y", length=0)
    return figure
