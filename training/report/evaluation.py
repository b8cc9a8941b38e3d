"""All the numbers of a report: what `report.json` holds and what figures and tables show.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cxrserve.findings import NAMES
from training.footprint import Footprint
from training.report.facts import FitFacts, People
from training.report.measures import (
    Calibration,
    Interval,
    Placements,
    auc_interval,
    average_precision,
    calibration,
    difference_interval,
    placements,
)
from training.report.scores import STACK, VOTING, Scores

# Below this many images of either kind, a subgroup's AUC says more about chance than about the network.
FEWEST: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Mean and standard deviation (n − 1) over `count` folds or seeds."""

    mean: float
    deviation: float
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingResult:
    """One finding on the test set.

    Attributes:
        auc: by column, with DeLong's interval.
        best: the scale with the largest AUC; None with fewer than two scales, or a class missing.
        over_best: the stack's AUC less that of `best`. As `best` was chosen on these very images, it leans
            against the stack.
        folds: by column, over the folds; empty without folds.
        sensitivity, specificity: of the stack at the bundle's operating point.
    """

    name: str
    positives: int
    negatives: int
    auc: dict[str, Interval] = field(default_factory=dict)
    best: str | None = None
    over_best: Interval | None = None
    average_precision: dict[str, float] = field(default_factory=dict)
    folds: dict[str, Spread] = field(default_factory=dict)
    calibration: Calibration | None = None
    threshold: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupResult:
    """The stack on some of the images: mean AUC over the findings that are judged there, and each."""

    by: str
    group: str
    images: int
    mean: float | None
    findings: dict[str, Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldResult:
    """The receptive field of one member. Shares are of the image's side.

    Attributes:
        theoretical: side in pixels, computed from the layers; None where there is no end to it.
        radius_50, radius_95: of the circle that holds that share of the effective field.
    """

    theoretical: int | None
    radius_50: float
    radius_95: float
    images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One bundle, measured. `means` are over the findings that every column has, by column."""

    bundle: str
    version: str
    sha256: str
    architecture: str
    parameters: int
    recipe: str
    trained_on: str
    data: str
    engine: str
    unit: str
    count: int
    sizes: tuple[int, ...]
    unavailable: tuple[str, ...]
    findings: tuple[FindingResult, ...]
    means: dict[str, float]
    fold_means: dict[str, Spread]
    weights: dict[str, dict[str, float]]
    groups: tuple[GroupResult, ...] = ()
    fields: dict[str, FieldResult] = field(default_factory=dict)
    footprints: dict[str, Footprint] = field(default_factory=dict)
    fits: tuple[FitFacts, ...] = ()
    image_sizes: dict[str, int] = field(default_factory=dict)
    co_occurrence: dict[str, dict[str, float | None]] = field(default_factory=dict)
    method: str = (
        "AUC by ranks; 95 % intervals by DeLong's method on the logit scale, differences by DeLong's method "
        "for paired curves; ± is the standard deviation over folds."
    )

    def as_json(self) -> dict[str, object]:
        """Everything as JSON's types; NaN and infinity are null."""
        plain = _plain(dataclasses.asdict(self))
        assert isinstance(plain, dict)
        return plain

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.means)

    @property
    def wins(self) -> dict[str, int]:
        """By scale, the number of findings whose best single scale it is."""
        bests = [result.best for result in self.findings]
        return {str(size): bests.count(str(size)) for size in self.sizes}

    @property
    def beaten(self) -> int:
        """Findings for which the stack is at least as good as their best single scale."""
        return sum(result.over_best is not None and result.over_best.value >= 0 for result in self.findings)

    @property
    def compared(self) -> int:
        """Findings with a best single scale."""
        return sum(result.over_best is not None for result in self.findings)


def evaluate_scores(scores: Scores, folds: Sequence[Scores] = (), people: People | None = None) -> Evaluation:
    """The numbers that follow from scores alone."""
    contract = scores.contract
    tables = [fold_table(fold) for fold in folds]
    findings = tuple(_finding(scores, index, tables) for index in range(len(NAMES)))
    return Evaluation(
        bundle=contract.name,
        version=contract.version,
        sha256=scores.sha256,
        architecture="; ".join(dict.fromkeys(member.architecture for member in contract.members)),
        parameters=sum(member.parameters for member in contract.members),
        recipe=contract.lineage.recipe,
        trained_on=contract.lineage.data,
        data=scores.data,
        engine=scores.engine,
        unit=scores.unit,
        count=len(scores),
        sizes=scores.sizes,
        unavailable=contract.unavailable,
        findings=findings,
        means=_means({result.name: _values(result.auc) for result in findings}, scores.columns),
        fold_means=_fold_means(tables, scores.columns),
        weights={
            name: {str(size): weight for size, weight in zip(scores.sizes, row, strict=True)}
            for name, row in zip(NAMES, contract.stack, strict=True)
            if name not in contract.unavailable
        },
        groups=tuple(_groups(scores, people)) if people else (),
    )


def fold_table(scores: Scores) -> dict[str, dict[str, float]]:
    """AUC by finding and column; what cannot be computed is left out."""
    return {
        name: {column: part.auc for column, part in _components(scores, index).items()}
        for index, name in enumerate(NAMES)
    }


def _components(scores: Scores, index: int) -> dict[str, Placements]:
    known_N, positive_N = scores.labelled(index)
    made = {
        column: placements(probabilities_N[known_N], positive_N)
        for column, probabilities_N in scores.probabilities(index).items()
    }
    return {column: part for column, part in made.items() if part is not None}


def _finding(scores: Scores, index: int, tables: list[dict[str, dict[str, float]]]) -> FindingResult:
    name = NAMES[index]
    known_N, positive_N = scores.labelled(index)
    positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
    parts, columns = _components(scores, index), scores.probabilities(index)
    if not columns or not len(positive_N):
        return FindingResult(name=name, positives=positives, negatives=negatives)
    single = {column: part.auc for column, part in parts.items() if column not in (VOTING, STACK)}
    best = max(single, key=lambda column: single[column]) if len(single) > 1 else None
    stack_N = columns[STACK][known_N]
    threshold = scores.contract.operating_points[name].threshold
    precision = {
        column: average_precision(values_N[known_N], positive_N) for column, values_N in columns.items()
    }
    return FindingResult(
        name=name,
        positives=positives,
        negatives=negatives,
        auc={column: auc_interval(part) for column, part in parts.items()},
        best=best,
        over_best=difference_interval(parts[STACK], parts[best]) if best else None,
        average_precision={column: value for column, value in precision.items() if value is not None},
        folds=_spreads([table[name] for table in tables]),
        calibration=calibration(stack_N, positive_N),
        threshold=threshold,
        sensitivity=_share(stack_N[positive_N] >= threshold),
        specificity=_share(stack_N[~positive_N] < threshold),
    )


def _share(hit_N: np.ndarray) -> float | None:
    return float(hit_N.mean()) if len(hit_N) else None


def _values(intervals: Mapping[str, Interval]) -> dict[str, float]:
    return {column: interval.value for column, interval in intervals.items()}


def _means(table: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> dict[str, float]:
    """Over the findings that have every column: means of different findings cannot be compared."""
    rows = [row for row in table.values() if all(column in row for column in columns)]
    return {column: float(np.mean([row[column] for row in rows])) for column in columns} if rows else {}


def _fold_means(tables: list[dict[str, dict[str, float]]], columns: Sequence[str]) -> dict[str, Spread]:
    return _spreads([_means(table, columns) for table in tables])


def _spreads(rows: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """By column, over the rows that have it; a standard deviation needs two."""
    columns = {column for row in rows for column in row}
    found = {column: [row[column] for row in rows if column in row] for column in columns}
    return {column: spread(values) for column, values in found.items() if len(values) > 1}


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of two values or more."""
    return Spread(mean=float(np.mean(values)), deviation=float(np.std(values, ddof=1)), count=len(values))


AGE_BANDS: Final = ((0, 40), (40, 60), (60, 80), (80, 200))


def _groups(scores: Scores, people: People) -> list[GroupResult]:
    """By view, sex and age band; groups that are all there is, or nobody, are left out."""
    masks = [("view", view, people.view_N == view) for view in sorted(set(people.view_N.tolist()))]
    masks += [("sex", sex, people.sex_N == sex) for sex in sorted(set(people.sex_N.tolist()))]
    for low, high in AGE_BANDS:
        name = f"{low} and over" if high == AGE_BANDS[-1][1] else f"{low} to {high - 1}"
        masks.append(("age", name, (people.age_N >= low) & (people.age_N < high)))
    return [
        _group(by, group, scores.subset(keep_N))
        for by, group, keep_N in masks
        if group != "unknown" and keep_N.any()
    ]


def _group(by: str, group: str, scores: Scores) -> GroupResult:
    findings: dict[str, Interval] = {}
    for index, name in enumerate(NAMES):
        _, positive_N = scores.labelled(index)
        if min(positive_N.sum(), (~positive_N).sum()) >= FEWEST and (parts := _components(scores, index)):
            findings[name] = auc_interval(parts[STACK])
    mean = float(np.mean([interval.value for interval in findings.values()])) if findings else None
    return GroupResult(by=by, group=group, images=len(scores), mean=mean, findings=findings)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
