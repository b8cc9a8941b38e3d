"""Means over findings, and their spread over folds and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrserve.bundle.fold_metrics import FoldMetrics

Row = Mapping[str, float]
Table = Mapping[str, Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Mean and standard deviation (n − 1) over `count` folds or seeds."""

    mean: float
    deviation: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of two values or more."""
    return Spread(mean=float(np.mean(values)), deviation=float(np.std(values, ddof=1)), count=len(values))


def spreads(rows: Sequence[Row]) -> dict[str, Spread]:
    """By column, over the rows that have it; a standard deviation needs two."""
    columns = {column for row in rows for column in row}
    values_of = {column: [row[column] for row in rows if column in row] for column in columns}
    return {column: spread(values) for column, values in values_of.items() if len(values) > 1}


def complete(tables: Sequence[Table], columns: Sequence[str]) -> list[str]:
    """Findings that have every column in every table: means over others cannot be compared."""
    names = list(tables[0]) if tables else []
    return [name for name in names if all(column in table[name] for table in tables for column in columns)]


def means_over(table: Table, names: Sequence[str], columns: Sequence[str]) -> dict[str, float]:
    """Mean of each column over the findings `names`; empty without any."""
    if not names:
        return {}
    return {column: float(np.mean([table[name][column] for name in names])) for column in columns}


def fold_means(tables: Sequence[Table], columns: Sequence[str]) -> dict[str, Spread]:
    """By column, the spread over the folds of the mean over the findings that all folds have."""
    names = complete(tables, columns)
    return spreads([means_over(table, names, columns) for table in tables])


def over_folds(tables: Sequence[Mapping[str, Mapping[str, float | None]]]) -> FoldMetrics | None:
    """The AUC of all folds and seeds as a bundle holds it; None with fewer than two."""
    if len(tables) < 2:
        return None
    mean: dict[str, dict[str, float | None]] = {}
    deviation: dict[str, dict[str, float | None]] = {}
    for name, columns in tables[0].items():
        rows = [
            {column: value for column, value in table[name].items() if value is not None} for table in tables
        ]
        known = spreads(rows)
        mean[name] = {column: round(known[column].mean, 4) if column in known else None for column in columns}
        deviation[name] = {
            column: round(known[column].deviation, 4) if column in known else None for column in columns
        }
    return FoldMetrics(count=len(tables), mean=mean, deviation=deviation)
