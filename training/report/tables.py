"""The report's tables, in the form of the papers they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from cxrserve.reports.ranking import Interval
from training.report.evaluation import Evaluation, FindingResult
from training.report.facts import FitFacts
from training.report.film_check_groups import FilmCheckResult
from training.report.footprint import Footprint
from training.report.html import Cell, Markup, table
from training.report.scores import STACK, VOTING
from training.report.style import label_of, signed

NONE = "–"


def auc_table(evaluation: Evaluation) -> Markup:
    """AUC of each finding at each scale, of voting and of the stack (Haque et al., Table 3).

    The best single scale is bold; the last column is the stack less that scale. With folds, all of it is
    over them, as mean ± standard deviation; without, the test set's figure over its interval.
    """
    columns = evaluation.columns or tuple(str(size) for size in evaluation.sizes)
    rows: list[list[Cell]] = []
    for result in evaluation.findings:
        if result.name in evaluation.unavailable:
            rows.append([result.name, *["not known"] * len(columns), NONE, NONE])
            continue
        cells: list[Cell] = [_auc_cell(result, column) for column in columns]
        rows.append([result.name, *cells, _difference(result), f"{result.positives:,}"])
    foot: list[Cell] = [
        "mean",
        *(_mean_cell(evaluation, column) for column in columns),
        _gain(evaluation),
        "",
    ]
    head = ["finding", *(label_of(column) for column in columns), "stack − best", "with it"]
    return table(head, rows, foot)


def _auc_cell(result: FindingResult, column: str) -> Cell:
    interval, folds = result.auc.get(column), result.folds.get(column)
    if folds is not None:
        return small(f"{folds.mean:.3f}", f"± {folds.deviation:.3f}", strong=column == result.best)
    if interval is None:
        return NONE
    return small(f"{interval.value:.3f}", interval_words(interval), strong=column == result.best)


def accuracy_table(evaluation: Evaluation) -> Markup:
    """Mean accuracy at a probability of one half beside the mean AUC (Xclassifier, Tables 3 and 6)."""
    columns = tuple(evaluation.accuracy_means)
    rows: list[list[Cell]] = [
        [
            result.name,
            *(_percent(result.accuracy.get(column)) for column in columns),
            f"{100 * result.positives / max(1, result.positives + result.negatives):.1f} %",
        ]
        for result in evaluation.findings
        if result.accuracy
    ]
    foot: list[Cell] = ["mean", *(_accuracy_cell(evaluation, column) for column in columns), ""]
    return table(["finding", *(label_of(column) for column in columns), "share with it"], rows, foot)


def _accuracy_cell(evaluation: Evaluation, column: str) -> Cell:
    if spread := evaluation.accuracy_fold_means.get(column):
        return small(f"{100 * spread.mean:.2f} %", f"± {100 * spread.deviation:.2f}")
    return f"{100 * evaluation.accuracy_means[column]:.2f} %"


def _mean_cell(evaluation: Evaluation, column: str) -> Cell:
    if spread := evaluation.fold_means.get(column):
        return small(f"{spread.mean:.3f}", f"± {spread.deviation:.3f}")
    return f"{evaluation.means[column]:.3f}" if column in evaluation.means else NONE


def _difference(result: FindingResult) -> Cell:
    if result.over_best is None:
        return NONE
    if result.over_best_folds is not None:
        folds = result.over_best_folds
        return small(signed(folds.mean), f"± {folds.deviation:.3f}")
    low, high = result.over_best.low, result.over_best.high
    below = "" if low is None or high is None else f"{signed(low)} to {signed(high)}"
    return small(signed(result.over_best.value), below)


def _gain(evaluation: Evaluation) -> Cell:
    means = evaluation.shown_means
    single = [value for column, value in means.items() if column not in (STACK, VOTING)]
    if len(single) < 2:
        return NONE
    return signed(means[STACK] - max(single))


def interval_words(interval: Interval) -> str:
    """The ends of an interval; empty where it has none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{interval.low:.3f} to {interval.high:.3f}"


def small(figure: str, below: str, *, strong: bool = False) -> Markup:
    """A figure with a smaller one below it."""
    shown = f"<b>{escape(figure)}</b>" if strong else escape(figure)
    return Markup(f"{shown}<small>{escape(below)}</small>" if below else shown)


def decisions_table(evaluation: Evaluation) -> Markup:
    """The stack at the bundle's operating points, its average precision and its calibration."""
    head = [
        "finding",
        "with it",
        "without",
        "operating point",
        "sensitivity",
        "specificity",
        "AP",
        "Brier",
        "ECE",
    ]
    rows = [
        [
            result.name,
            f"{result.positives:,}",
            f"{result.negatives:,}",
            _figure(result.threshold),
            _percent(result.sensitivity),
            _percent(result.specificity),
            _figure(result.average_precision.get(STACK)),
            _figure(result.calibration.brier if result.calibration else None),
            _figure(result.calibration.ece if result.calibration else None),
        ]
        for result in evaluation.findings
    ]
    return table(head, rows)


def _figure(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def cost_table(
    evaluation: Evaluation, footprints: Mapping[str, Footprint], fits: Sequence[FitFacts]
) -> Markup:
    """Memory, images per second and run time of each scale, served and fitted (Haque et al., Table 2)."""
    fitted = {str(fit.size): fit for fit in fits}
    head = ["size", "served: peak memory", "of it the program", "one image", "images/s"]
    if fitted:
        head += [
            "fitted on",
            "peak memory",
            "images/s",
            "run time",
            "an epoch",
            "batch",
            "peak rate",
            "epochs",
        ]
    rows: list[list[Cell]] = []
    for size in map(str, evaluation.sizes):
        row: list[Cell] = [label_of(size), *_served(footprints.get(size))]
        if fitted:
            row += _fitted(fitted.get(size))
        rows.append(row)
    return table(head, rows)


def _served(footprint: Footprint | None) -> list[Cell]:
    if footprint is None:
        return [NONE] * 4
    memory = (_bytes(footprint.peak_bytes), _bytes(footprint.idle_bytes))
    return [*memory, f"{footprint.run_ms:,.1f} ms", f"{footprint.images_per_s:,.1f}"]


def _fitted(facts: FitFacts | None) -> list[Cell]:
    if facts is None:
        return [NONE] * 8
    rate = NONE if facts.images_per_s is None else f"{facts.images_per_s:,.1f}"
    return [
        facts.device or NONE,
        _bytes(facts.memory_bytes),
        rate,
        _duration(facts.seconds),
        _duration(facts.seconds / facts.epochs if facts.seconds and facts.epochs else None),
        NONE if facts.batch is None else str(facts.batch),
        NONE if facts.learning_rate is None else f"{facts.learning_rate:.2g}",
        NONE if facts.epochs is None else f"{facts.epochs}",
    ]


def _bytes(count: int | None) -> str:
    if count is None:
        return NONE
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def film_check_table(result: FilmCheckResult) -> Markup:
    """The shares of images that the film check refuses, and warns of, in each group."""
    rows = [
        [
            share.by,
            share.group,
            f"{share.images:,}",
            _with_interval(share.refused),
            _with_interval(share.warned),
        ]
        for share in result.groups
    ]
    return table(["by", "group", "images", "refused", "warned of"], rows, text_columns=(1,))


def reasons_table(result: FilmCheckResult) -> Markup:
    """The reasons of the film check, most frequent first."""
    rows = [[reason, f"{count:,}"] for reason, count in result.reasons.items()]
    return table(["reason", "images"], rows)


def _with_interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.value:.1%}"
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def groups_table(evaluation: Evaluation) -> Markup:
    """The stack's mean AUC in each group of people."""
    rows = [
        [
            group.by,
            group.group,
            f"{group.images:,}",
            NONE if group.mean is None else f"{group.mean:.3f}",
            str(len(group.findings)),
        ]
        for group in evaluation.groups
    ]
    return table(["by", "group", "images", "mean AUC", "findings judged"], rows, text_columns=(1,))
