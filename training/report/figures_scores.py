"""Figures of ranking: what the scores of a test set look like.

Legend: S scales (ascending by size).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cxrserve.findings import NAMES
from cxrserve.reports.ranking import Interval
from training.report.evaluation import Evaluation, FindingResult
from training.report.measures import Curve, precision_recall, roc
from training.report.pooled import Pooled
from training.report.scores import STACK, VOTING, Scores
from training.report.style import (
    FAINT,
    INK,
    PAPER,
    RULE,
    WIDTH,
    colour_of,
    drawn,
    label_of,
    new_figure,
)

COLUMNS: Final = 5
MAX_POINTS: Final = 120


def roc_figure(scores: Scores | Pooled, results: Sequence[FindingResult]) -> Figure:
    """ROC of each finding: every scale, and the stack."""
    return _multiples(scores, results, _draw_roc, "1 − specificity", "sensitivity")


def precision_recall_figure(scores: Scores | Pooled, results: Sequence[FindingResult]) -> Figure:
    """Precision against recall of each finding; the dotted line is its share of the images."""
    return _multiples(scores, results, _draw_precision_recall, "recall", "precision")


Draw = Callable[[Axes, Scores | Pooled, FindingResult], None]


def _multiples(
    scores: Scores | Pooled, results: Sequence[FindingResult], draw: Draw, x_label: str, y_label: str
) -> Figure:
    evaluated = [result for result in results if result.auc]
    with drawn():
        figure, panels, rest = panels_of(evaluated, x_label, y_label)
        for axes, result in zip(panels, evaluated, strict=True):
            draw(axes, scores, result)
        if not panels:
            figure.text(
                0.5, 0.5, "No finding has images both with it and without it.", ha="center", color=INK
            )
        elif rest:
            handles, labels = panels[0].get_legend_handles_labels()
            rest[0].legend(handles, labels, loc="center left", labelspacing=0.7)
        else:
            _legend(figure, panels[0], len(scores.columns))
    return figure


def panels_of(
    evaluated: Sequence[FindingResult], x_label: str, y_label: str
) -> tuple[Figure, list[Axes], list[Axes]]:
    """A square panel for each finding, from 0 to 1 both ways, and the cells of the grid left over."""
    rows = max(1, -(-len(evaluated) // COLUMNS))
    figure = new_figure(0.35 + 2.05 * rows)
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    panels, rest = list(grid.flat[: len(evaluated)]), list(grid.flat[len(evaluated) :])
    for axes, result in zip(panels, evaluated, strict=True):
        # The longest name has to fit over a panel.
        axes.set_title(result.name, loc="left", fontsize=8.5 if len(result.name) < 20 else 7)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_box_aspect(1)
    for axes in rest:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(y_label)
    for axes in grid[-1]:
        axes.set_xlabel(x_label)
    return figure, panels, rest


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def _curves(
    axes: Axes, scores: Scores | Pooled, result: FindingResult, curve_of: Callable[..., Curve], *, steps: bool
) -> None:
    index = NAMES.index(result.name)
    known_N, positive_N = scores.labelled(index)
    for column, probabilities_N in scores.probabilities(index).items():
        if column == VOTING:
            continue
        curve = curve_of(probabilities_N[known_N], positive_N)
        # Fewer points than pixels: a curve of a hundred thousand images weighs no more than one of a hundred.
        keep = np.unique(np.linspace(0, len(curve.x) - 1, MAX_POINTS).astype(int))
        axes.plot(
            curve.x[keep],
            curve.y[keep],
            color=colour_of(column, scores.sizes),
            linewidth=1.8 if column == STACK else 1.1,
            drawstyle="steps-post" if steps else "default",
            label=label_of(column),
            clip_on=False,
        )


def _draw_roc(axes: Axes, scores: Scores | Pooled, result: FindingResult) -> None:
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8)
    _curves(axes, scores, result, roc, steps=False)
    if STACK in result.auc:
        axes.text(0.98, 0.04, f"{result.auc[STACK].value:.3f}", ha="right", fontsize=8.5, color=INK)
    if result.sensitivity is not None and result.specificity is not None:
        axes.plot(
            1 - result.specificity,
            result.sensitivity,
            "o",
            markersize=4.5,
            color=INK,
            markeredgecolor=PAPER,
            markeredgewidth=1,
            clip_on=False,
            zorder=5,
        )


def _draw_precision_recall(axes: Axes, scores: Scores | Pooled, result: FindingResult) -> None:
    share = result.positives / max(1, result.positives + result.negatives)
    axes.axhline(share, color=FAINT, linewidth=0.8, linestyle=":")
    _curves(axes, scores, result, precision_recall, steps=False)
    if STACK in result.average_precision:
        axes.text(0.03, 0.04, f"AP {result.average_precision[STACK]:.3f}", ha="left", fontsize=8.5, color=INK)


def auc_figure(evaluation: Evaluation) -> Figure:
    """AUC of each finding at each scale and of the stack, with its interval; with folds, over them."""
    results = [result for result in evaluation.findings if result.auc]
    with drawn():
        figure = new_figure(0.9 + 0.34 * len(results))
        axes = figure.subplots()
        for row, result in enumerate(results):
            for column in result.auc:
                if column != VOTING:
                    _draw_interval(axes, row, column, result, evaluation)
        axes.set_yticks(range(len(results)), [result.name for result in results], color=INK, fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(results) - 0.45, -0.55)
        bars = (
            "mean ± standard deviation over the folds" if evaluation.fold_means else "with its 95 % interval"
        )
        axes.set_xlabel(f"AUC, {bars}")
        axes.grid(axis="y", visible=False)
        for row in range(1, len(results)):
            axes.axhline(row - 0.5, color=RULE, linewidth=0.5)
        axes.axvline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
        _legend(figure, axes, len(evaluation.columns))
    return figure


def _draw_interval(axes: Axes, row: int, column: str, result: FindingResult, evaluation: Evaluation) -> None:
    interval, sizes = result.auc[column], evaluation.sizes
    if folds := result.folds.get(column):
        low, high = folds.mean - folds.deviation, folds.mean + folds.deviation
        interval = Interval(value=folds.mean, low=low, high=high)
    columns = [str(size) for size in sizes] + [STACK]
    height = row + 0.62 * (columns.index(column) / max(1, len(columns) - 1) - 0.5)
    colour = colour_of(column, sizes)
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low, interval.high], [height, height], color=colour, linewidth=1.2, alpha=0.75)
    axes.plot(
        interval.value,
        height,
        "D" if column == STACK else "o",
        color=colour,
        markersize=4.5 if column == STACK else 3.8,
        label=label_of(column) if row == 0 else None,
        clip_on=False,
        linestyle="none",
    )


def weights_figure(evaluation: Evaluation) -> Figure:
    """The weight of each scale in each finding's stack, in percent (Haque et al., Figure 5).

    With folds, their mean and standard deviation.
    """
    sizes, names = evaluation.sizes, list(evaluation.weights)
    with drawn():
        figure = new_figure(3.5)
        axes = figure.subplots()
        width = 0.82 / len(sizes)
        for position, size in enumerate(sizes):
            heights = [100 * evaluation.weights[name][str(size)] for name in names]
            x = np.arange(len(names)) + width * (position - (len(sizes) - 1) / 2)
            axes.bar(x, heights, width * 0.92, color=colour_of(str(size), sizes), label=label_of(str(size)))
            if evaluation.weight_deviations:
                bars = [100 * evaluation.weight_deviations[name][str(size)] for name in names]
                axes.errorbar(x, heights, bars, fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5)
        axes.set_xticks(range(len(names)), names, rotation=38, ha="right", color=INK, rotation_mode="anchor")
        axes.tick_params(axis="x", length=0)
        axes.set_ylim(0, 100)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0, symbol=" %"))
        axes.grid(axis="x", visible=False)
        axes.set_ylabel("weight in the stack")
        _legend(figure, axes, len(sizes))
    return figure


def groups_figure(evaluation: Evaluation) -> Figure:
    """The stack's AUC in each group of people: a dot for each finding, and their mean."""
    groups = [group for group in evaluation.groups if group.mean is not None]
    with drawn():
        figure = new_figure(0.7 + 0.36 * max(1, len(groups)), WIDTH)
        axes = figure.subplots()
        for row, group in enumerate(groups):
            values = [interval.value for interval in group.findings.values()]
            axes.plot(values, [row] * len(values), "o", color=FAINT, markersize=3.5, alpha=0.6)
            axes.plot([group.mean or 0.0], [row], "D", color=INK, markersize=6)
            axes.text(
                1.01, row, f"{group.mean:.3f}", va="center", color=INK, transform=axes.get_yaxis_transform()
            )
        labels = [f"{group.by}: {group.group}  ({group.images:,})" for group in groups]
        axes.set_yticks(range(len(groups)), labels, color=INK)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("AUC of the stack: findings (dots) and their mean (diamond)")
    return figure
