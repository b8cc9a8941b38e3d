"""The figure of AUC against image size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.report.comparison_tables import mean_over, shared_findings
from training.report.evaluation import Evaluation
from training.report.scores import STACK, VOTING
from training.report.style import MARKERS, colour_of, drawn, new_figure

SERIES: Final = ("#3f7fca", "#cc5566", "#2a9d8f", "#ddaa33", "#8c6bb1")


def resolution_figure(
    evaluations: Sequence[Evaluation], repeats: Mapping[str, Mapping[int, Sequence[float]]]
) -> Figure:
    """Mean AUC of the shared findings against image size, one line for each network (Chizari, Figure 6).

    Args:
        repeats: by network and size, one figure for each seed or fold; drawn with its standard deviation.
    """
    names = shared_findings(evaluations)
    means_of = {evaluation.bundle: mean_over(evaluation, names) for evaluation in evaluations}
    lines = repeats or {
        evaluation.bundle: {
            size: [means_of[evaluation.bundle][str(size)]]
            for size in evaluation.sizes
            if str(size) in means_of[evaluation.bundle]
        }
        for evaluation in evaluations
    }
    with drawn():
        figure = new_figure(3.6, 6.6)
        axes = figure.subplots()
        for index, (network, by_size) in enumerate(lines.items()):
            sizes = sorted(by_size)
            means = [float(np.mean(by_size[size])) for size in sizes]
            errors = [float(np.std(by_size[size], ddof=1)) if len(by_size[size]) > 1 else 0 for size in sizes]
            axes.errorbar(
                sizes,
                means,
                errors if any(errors) else None,
                color=SERIES[index % len(SERIES)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=6,
                capsize=4,
                label=network,
            )
        if len(evaluations) == 1:
            _ensembles(axes, evaluations[0])
        axes.set_xscale("log", base=2)
        every = sorted({size for by_size in lines.values() for size in by_size})
        axes.set_xticks(every, [str(size) for size in every])
        axes.minorticks_off()
        axes.set(xlabel="side of the image in pixels", ylabel="AUC, mean over findings")
        axes.margins(0.08, 0.15)
        if len(lines) > 1:
            axes.legend(loc="best")
    return figure


def _ensembles(axes: Axes, evaluation: Evaluation) -> None:
    for column, dash in ((VOTING, ":"), (STACK, "--")):
        if column in evaluation.shown_means:
            mean = evaluation.shown_means[column]
            axes.axhline(mean, color=colour_of(column, evaluation.sizes), linewidth=1, linestyle=dash)
            axes.annotate(
                f"{column} {mean:.3f}",
                (0, mean),
                xycoords=("axes fraction", "data"),
                xytext=(6, 3),
                textcoords="offset points",
                fontsize=8.5,
            )
