"""Tables of several bundles beside each other: on the same images, and over the folds of their runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.report.averages import Spread
from training.report.evaluation import Evaluation
from training.report.html import Cell, Markup, table
from training.report.own_folds import (
    OwnFolds,
    mean_spreads,
    mean_stack_difference,
    same_split,
    shared_by_folds,
    stack_difference,
)
from training.report.scores import STACK, VOTING
from training.report.style import label_of, signed
from training.report.tables import NONE, interval_words, small


def variants_table(evaluations: Sequence[Evaluation]) -> Markup:
    """Several bundles on the same images (Xclassifier, Table 3): mean AUC and accuracy in percent.

    Means are over the findings that every bundle has; the best stack is bold. The accuracy is the stack's, at
    a probability of one half.
    """
    names = shared_findings(evaluations)
    sizes = sorted({size for evaluation in evaluations for size in evaluation.sizes})
    head = [
        "bundle",
        "networks",
        "parameters",
        *(f"{size} px" for size in sizes),
        "voting",
        "stack",
        "accuracy",
    ]
    means = [mean_over(evaluation, names) for evaluation in evaluations]
    best = max((row[STACK] for row in means if STACK in row), default=None)
    rows: list[list[Cell]] = []
    for evaluation, mean in zip(evaluations, means, strict=True):
        single: list[Cell] = [_share(mean.get(str(size))) for size in sizes]
        rows.append(
            [
                f"{evaluation.bundle} {evaluation.version}",
                evaluation.architecture,
                f"{evaluation.parameters:,}",
                *single,
                _share(mean.get(VOTING)),
                small(_share(mean.get(STACK)), "", strong=mean.get(STACK) == best),
                _share(_accuracy_over(evaluation, names)),
            ]
        )
    return table(head, rows, text_columns=(1,))


def shared_findings(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """The findings of which every bundle has the AUC of all its columns."""
    complete = [
        {result.name for result in evaluation.findings if set(evaluation.columns) <= result.auc.keys()}
        for evaluation in evaluations
    ]
    return tuple(
        result.name for result in evaluations[0].findings if all(result.name in names for names in complete)
    )


def mean_over(evaluation: Evaluation, names: Sequence[str]) -> dict[str, float]:
    """Mean AUC by column over the findings `names`; empty without any."""
    results = [result for result in evaluation.findings if result.name in names]
    if not results:
        return {}
    return {
        column: float(np.mean([result.auc[column].value for result in results]))
        for column in evaluation.columns
    }


def _accuracy_over(evaluation: Evaluation, names: Sequence[str]) -> float | None:
    """The stack's mean accuracy over the findings `names`."""
    values = [result.accuracy[STACK] for result in evaluation.findings if result.name in names]
    return float(np.mean(values)) if values else None


def _share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f}"


def variants_by_finding_table(evaluations: Sequence[Evaluation]) -> Markup:
    """The stack's AUC of each finding, a column for each bundle."""
    by_name = [{result.name: result for result in evaluation.findings} for evaluation in evaluations]
    rows: list[list[Cell]] = []
    for name in by_name[0]:
        intervals = [results[name].auc.get(STACK) for results in by_name]
        best = max((interval.value for interval in intervals if interval), default=None)
        rows.append(
            [
                name,
                *(
                    NONE
                    if interval is None
                    else small(
                        f"{interval.value:.3f}", interval_words(interval), strong=interval.value == best
                    )
                    for interval in intervals
                ),
            ]
        )
    return table(
        ["finding", *(f"{evaluation.bundle} {evaluation.version}" for evaluation in evaluations)], rows
    )


def folds_table(runs: Sequence[OwnFolds]) -> Markup:
    """Each run over its own folds and seeds: mean AUC, and accuracy of the stack, as mean ± deviation."""
    names = shared_by_folds(runs)
    sizes = sorted({size for run in runs for size in run.sizes})
    columns = [*map(str, sizes), VOTING, STACK]
    head = ["bundle", "network", "folds", *(label_of(column) for column in columns), "accuracy"]
    rows: list[list[Cell]] = []
    for run in runs:
        auc = mean_spreads(run.auc, names, run.columns)
        accuracy = mean_spreads(run.accuracy, names, [STACK])
        cells = [_spread_cell(auc.get(column)) for column in columns]
        rows.append([run.bundle, run.network, str(len(run.auc)), *cells, _spread_cell(accuracy.get(STACK))])
    return table(head, rows, text_columns=(1,))


def folds_by_finding_table(runs: Sequence[OwnFolds]) -> Markup:
    """AUC of each finding at each scale of each run, over its folds (Haque 2023: two networks).

    Where the runs share their folds, the last columns are the stacks' differences from the first run's.
    """
    columns = [(run, column) for run in runs for column in run.columns if column != VOTING]
    paired = same_split(runs)
    head = ["finding", *(f"{run.network} {label_of(column)}" for run, column in columns)]
    head += [f"{run.network} − {runs[0].network}" for run in runs[1:]] if paired else []
    rows: list[list[Cell]] = []
    for name in shared_by_folds(runs):
        spreads = {id(run): mean_spreads(run.auc, [name], run.columns) for run in runs}
        row: list[Cell] = [name, *(_spread_cell(spreads[id(run)].get(column)) for run, column in columns)]
        if paired:
            row += [_difference_cell(stack_difference(runs[0], run, name)) for run in runs[1:]]
        rows.append(row)
    foot: list[Cell] = []
    if rows:
        names = shared_by_folds(runs)
        means = {id(run): mean_spreads(run.auc, names, run.columns) for run in runs}
        foot = ["mean", *(_spread_cell(means[id(run)].get(column)) for run, column in columns)]
        if paired:
            foot += [_difference_cell(mean_stack_difference(runs[0], run, names)) for run in runs[1:]]
    return table(head, rows, foot)


def _spread_cell(value: Spread | None) -> Cell:
    if value is None:
        return NONE
    return small(f"{100 * value.mean:.2f}", f"± {100 * value.deviation:.2f}")


def _difference_cell(value: Spread | None) -> Cell:
    return NONE if value is None else small(signed(value.mean), f"± {value.deviation:.3f}")
