"""The folds and seeds of a bundle's run, read from the report beside the bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training.report.averages import Row, Spread, Table, complete, means_over, spread, spreads
from training.report.scores import STACK

REPORT: Final = "report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnFolds:
    """AUC and accuracy of every fold and seed of one run, each on the test images of its fold.

    Attributes:
        bundle: name and version.
        network: its architecture.
        columns: sizes, voting, stack.
        split: hash of the run's folds; None where the report does not name it.
    """

    bundle: str
    network: str
    sizes: tuple[int, ...]
    columns: tuple[str, ...]
    auc: tuple[Table, ...]
    accuracy: tuple[Table, ...]
    split: str | None = None


def read_own_folds(bundle: Path) -> OwnFolds | None:
    """The folds of the run that made `bundle`; None where its report has none."""
    try:
        report: dict[str, Any] = json.loads((bundle / REPORT).read_text(encoding="utf-8"))
        tables = report["fold_auc"]
        if len(tables) < 2:
            return None
        return OwnFolds(
            bundle=f"{report['bundle']} {report['version']}",
            network=report["architecture"],
            sizes=tuple(report["sizes"]),
            columns=tuple(report["means"]),
            auc=tuple(tables),
            accuracy=tuple(report["fold_accuracy"]),
            split=report.get("lineage", {}).get("split_sha256"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it comes from elsewhere, or from an earlier version


def shared_by_folds(runs: Sequence[OwnFolds]) -> list[str]:
    """Findings that every fold of every run has in all its columns."""
    names = [complete(run.auc, run.columns) for run in runs]
    return [name for name in names[0] if all(name in other for other in names)]


def same_split(runs: Sequence[OwnFolds]) -> bool:
    """True if all runs tested the same images in the same folds."""
    splits = {run.split for run in runs}
    return len(splits) == 1 and None not in splits and len({len(run.auc) for run in runs}) == 1


def mean_spreads(tables: Sequence[Table], names: Sequence[str], columns: Sequence[str]) -> dict[str, Spread]:
    """By column, mean and deviation over the folds of the mean over `names`."""
    return spreads([means_over(table, names, columns) for table in tables])


def repeats_of(runs: Sequence[OwnFolds]) -> dict[str, dict[int, list[float]]]:
    """AUC, mean over the shared findings, by network and size: one figure for each fold or seed."""
    names = shared_by_folds(runs)
    several = len({run.network for run in runs}) < len(runs)
    return {
        run.bundle if several else run.network: {
            size: [means_over(table, names, [str(size)])[str(size)] for table in run.auc]
            for size in run.sizes
        }
        for run in runs
        if names
    }


def stack_difference(first: OwnFolds, other: OwnFolds, name: str) -> Spread | None:
    """The stack's AUC of one finding in `other` less that in `first`, over folds that both share."""
    rows = zip(first.auc, other.auc, strict=True)
    return _difference([(mine.get(name, {}), theirs.get(name, {})) for mine, theirs in rows])


def mean_stack_difference(first: OwnFolds, other: OwnFolds, names: Sequence[str]) -> Spread | None:
    """The same of the mean over the findings `names`."""
    means = [[means_over(table, names, [STACK]) for table in run.auc] for run in (first, other)]
    return _difference(list(zip(*means, strict=True)))


def _difference(rows: Sequence[tuple[Row, Row]]) -> Spread | None:
    values = [theirs[STACK] - mine[STACK] for mine, theirs in rows if STACK in mine and STACK in theirs]
    return spread(values) if len(values) > 1 else None
