"""The report's tables, in the form of the papers they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from training.footprint import Footprint
from training.report.evaluation import Evaluation, FindingResult
from training.report.facts import FitFacts
from training.report.html import Cell, Markup, table
from training.report.measures import Interval
from training.report.scores import STACK, VOTING
from training.report.style import label_of, signed

NONE = "–"


def auc_table(evaluation: Evaluation) -> Markup:
    """AUC of each finding at each scale, of voting and of the stack (Haque et al., Table 3).

    The best single scale is bold; the last column is the stack less that scale. With folds, mean ± standard
    deviation over them; without, the test set's figure over its interval.
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
        return _small(f"{folds.mean:.3f}", f"± {folds.deviation:.3f}", strong=column == result.best)
    if interval is None:
        return NONE
    return _small(f"{interval.value:.3f}", _range(interval), strong=column == result.best)


def _mean_cell(evaluation: Evaluation, column: str) -> Cell:
    if spread := evaluation.fold_means.get(column):
        return _small(f"{spread.mean:.3f}", f"± {spread.deviation:.3f}")
    return f"{evaluation.means[column]:.3f}" if column in evaluation.means else NONE


def _difference(result: FindingResult) -> Cell:
    if result.over_best is None:
        return NONE
    low, high = result.over_best.low, result.over_best.high
    below = "" if low is None or high is None else f"{signed(low)} to {signed(high)}"
    return _small(signed(result.over_best.value), below)


def _gain(evaluation: Evaluation) -> Cell:
    single = [value for column, value in evaluation.means.items() if column not in (STACK, VOTING)]
    if len(single) < 2:
        return NONE
    return signed(evaluation.means[STACK] - max(single))


def _range(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _small(figure: str, below: str, *, strong: bool = False) -> Markup:
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
        head += ["fitted on", "peak memory", "images/s", "run time"]
    rows: list[list[Cell]] = []
    for size in map(str, evaluation.sizes):
        row: list[Cell] = [label_of(size), *_served(footprints.get(size))]
        if fitted:
            row += _fitted(fitted.get(size))
        rows.append(row)
    return table(head, rows)


def _served(found: Footprint | None) -> list[Cell]:
    if found is None:
        return [NONE] * 4
    memory = (_bytes(found.peak_bytes), _bytes(found.idle_bytes))
    return [*memory, f"{found.run_ms:,.1f} ms", f"{found.images_per_s:,.1f}"]


def _fitted(found: FitFacts | None) -> list[Cell]:
    if found is None:
        return [NONE] * 4
    rate = NONE if found.images_per_s is None else f"{found.images_per_s:,.1f}"
    return [found.device or NONE, _bytes(found.memory_bytes), rate, _duration(found.seconds)]


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


def variants_table(evaluations: Sequence[Evaluation]) -> Markup:
    """Several bundles on the same data (xclassifier, Table 3): AUC is the stack's mean, in percent."""
    every = sorted({size for each in evaluations for size in each.sizes})
    head = ["bundle", "networks", "parameters", *(f"{size} px" for size in every), "voting", "stack"]
    best = max((each.means.get(STACK, 0) for each in evaluations), default=0)
    rows: list[list[Cell]] = []
    for each in evaluations:
        stacked = each.means.get(STACK)
        single: list[Cell] = [_share(each.means.get(str(size))) for size in every]
        rows.append(
            [
                f"{each.bundle} {each.version}",
                each.architecture,
                f"{each.parameters:,}",
                *single,
                _share(each.means.get(VOTING)),
                _small(_share(stacked), "", strong=stacked == best),
            ]
        )
    return table(head, rows, words=(1,))


def _share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f}"


def variants_by_finding_table(evaluations: Sequence[Evaluation]) -> Markup:
    """The stack's AUC of each finding, a column for each bundle."""
    by_name = [{result.name: result for result in each.findings} for each in evaluations]
    rows: list[list[Cell]] = []
    for name in by_name[0]:
        found = [one[name].auc.get(STACK) for one in by_name]
        best = max((interval.value for interval in found if interval), default=None)
        rows.append(
            [
                name,
                *(
                    NONE
                    if interval is None
                    else _small(f"{interval.value:.3f}", _range(interval), strong=interval.value == best)
                    for interval in found
                ),
            ]
        )
    return table(["finding", *(f"{each.bundle} {each.version}" for each in evaluations)], rows)


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
    return table(["by", "group", "images", "mean AUC", "findings judged"], rows, words=(1,))
