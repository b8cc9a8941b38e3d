"""All the numbers of a report: what `report.json` holds and what figures and tables show.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cxrserve.bundle.contract import Contract
from cxrserve.findings import NAMES
from cxrserve.reports.ranking import Interval, Placements, auc_interval, difference_interval, placements
from training.report.averages import Spread, complete, fold_means, means_over, spread, spreads
from training.report.facts import FitFacts, People, age_bands
from training.report.film_check_groups import FilmCheckResult
from training.report.footprint import Footprint
from training.report.measures import (
    Calibration,
    DecisionCurve,
    accuracy,
    average_precision,
    calibration,
    decision_curve,
)
from training.report.pooled import Pooled
from training.report.scores import STACK, VOTING, Scores

# Below this many images of either kind, a subgroup's AUC says more about chance than about the network.
FEWEST: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingResult:
    """One finding on the test set.

    Attributes:
        auc: by column, with DeLong's interval.
        best: the scale with the largest AUC, with folds of the largest mean over them; None with fewer than
            two scales, or a class missing.
        over_best: the stack's AUC less that of `best`, with folds their mean. As `best` was chosen on these
            very images, it leans against the stack.
        over_best_folds: that difference over the folds; None without folds.
        folds: by column, over the folds; empty without folds.
        accuracy: by column, the share of images that are right at a probability of one half.
        sensitivity, specificity: of the stack at the operating point of the bundle, or of each fold's.
    """

    name: str
    positives: int
    negatives: int
    auc: dict[str, Interval] = field(default_factory=dict)
    best: str | None = None
    over_best: Interval | None = None
    over_best_folds: Spread | None = None
    average_precision: dict[str, float] = field(default_factory=dict)
    folds: dict[str, Spread] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    decisions: DecisionCurve | None = None
    threshold: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupResult:
    """The stack on some of the images: mean AUC over the findings evaluated there, and each AUC."""

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
    """One bundle, measured.

    Attributes:
        means: AUC by column, over the findings that every column has: of this bundle alone.
        fold_means: the same of every fold; empty without folds.
        fold_auc, fold_accuracy: by finding and column, of each fold and seed.
        accuracy_means: accuracy by column, over the findings that every column has.
        accuracy_fold_means: the same over the folds; empty without folds.
        weights: by finding and scale; with folds, their mean over the folds' stacks.
        weight_deviations: their standard deviation over the folds' stacks; empty without folds.
    """

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
    fold_auc: tuple[dict[str, dict[str, float]], ...] = ()
    fold_accuracy: tuple[dict[str, dict[str, float]], ...] = ()
    accuracy_means: dict[str, float] = field(default_factory=dict)
    accuracy_fold_means: dict[str, Spread] = field(default_factory=dict)
    weight_deviations: dict[str, dict[str, float]] = field(default_factory=dict)
    groups: tuple[GroupResult, ...] = ()
    fields: dict[str, FieldResult] = field(default_factory=dict)
    footprints: dict[str, Footprint] = field(default_factory=dict)
    fits: tuple[FitFacts, ...] = ()
    image_sizes: dict[str, int] = field(default_factory=dict)
    co_occurrence: dict[str, dict[str, float | None]] = field(default_factory=dict)
    film_check: FilmCheckResult | None = None
    method: str = (
        "AUC by ranks; 95 % intervals by patient (DeLong's method, with Obuchowski's variance for clusters) "
        "on the logit scale, differences for paired curves; ± is the standard deviation over folds and seeds."
    )

    def as_json(self) -> dict[str, object]:
        """Everything as JSON's types; NaN and infinity are null."""
        plain = _plain(dataclasses.asdict(self))
        assert isinstance(plain, dict)
        return plain

    @property
    def shown_means(self) -> dict[str, float]:
        """Mean AUC by column: over the folds where there are several, else of this bundle."""
        return {column: part.mean for column, part in self.fold_means.items()} or self.means

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


def evaluate_scores(
    scores: Scores,
    folds: Sequence[Scores] = (),
    people: People | None = None,
    pooled: Pooled | None = None,
) -> Evaluation:
    """The numbers that follow from scores alone.

    Args:
        folds: of every fold and seed; means, deviations, best scales and gains are over them.
        people: of the images of `pooled`, else of `scores`.
        pooled: of the folds of one seed; counts, curves, calibration, decisions and groups are theirs.
    """
    contract, columns = scores.contract, scores.columns
    tables = [fold_table(fold) for fold in folds]
    accuracies = [accuracy_table(fold) for fold in folds]
    source = pooled or scores
    findings = tuple(_finding(source, index, tables) for index in range(len(NAMES)))
    own_auc, own_accuracy = fold_table(scores), accuracy_table(scores)
    contracts = [fold.contract for fold in folds] or [contract]
    return Evaluation(
        bundle=contract.name,
        version=contract.version,
        sha256=scores.sha256,
        architecture="; ".join(dict.fromkeys(member.architecture for member in contract.members)),
        parameters=sum(member.parameters for member in contract.members),
        recipe=contract.lineage.recipe,
        trained_on=contract.lineage.data,
        data=source.data,
        engine=scores.engine,
        unit=scores.unit,
        count=len(source),
        sizes=scores.sizes,
        unavailable=contract.unavailable,
        findings=findings,
        means=means_over(own_auc, complete([own_auc], columns), columns),
        fold_means=fold_means(tables, columns),
        accuracy_means=means_over(own_accuracy, complete([own_accuracy], columns), columns),
        fold_auc=tuple(tables),
        fold_accuracy=tuple(accuracies),
        accuracy_fold_means=fold_means(accuracies, columns),
        weights=_weights(contracts, lambda weights_BS: weights_BS.mean(0)),
        weight_deviations=_weights(contracts, lambda weights_BS: weights_BS.std(0, ddof=1))
        if len(contracts) > 1
        else {},
        groups=tuple(_groups(source, people)) if people else (),
    )


def fold_table(scores: Scores) -> dict[str, dict[str, float]]:
    """AUC by finding and column; what cannot be computed is left out."""
    return {
        name: {column: part.auc for column, part in _components(scores, index).items()}
        for index, name in enumerate(NAMES)
    }


def accuracy_table(scores: Scores | Pooled) -> dict[str, dict[str, float]]:
    """Accuracy at a probability of one half, by finding and column; without labels it is left out."""
    table: dict[str, dict[str, float]] = {}
    for index, name in enumerate(NAMES):
        known_N, positive_N = scores.labelled(index)
        values = {
            column: accuracy(probabilities_N[known_N], positive_N)
            for column, probabilities_N in scores.probabilities(index).items()
        }
        table[name] = {column: value for column, value in values.items() if value is not None}
    return table


def _weights(
    contracts: Sequence[Contract], reduced: Callable[[np.ndarray], np.ndarray]
) -> dict[str, dict[str, float]]:
    """Weights of the stack by finding and scale, reduced over the bundles."""
    by_finding = np.array([contract.stack for contract in contracts]).transpose(1, 0, 2)
    sizes = contracts[0].preprocessing.sizes
    return {
        name: {str(size): float(weight) for size, weight in zip(sizes, reduced(weights_BS), strict=True)}
        for name, weights_BS in zip(NAMES, by_finding, strict=True)
        if name not in contracts[0].unavailable
    }


def _components(scores: Scores | Pooled, index: int) -> dict[str, Placements]:
    known_N, positive_N = scores.labelled(index)
    cluster_N = scores.cluster_N[known_N]
    by_column = {
        column: placements(probabilities_N[known_N], positive_N, cluster_N)
        for column, probabilities_N in scores.probabilities(index).items()
    }
    return {column: part for column, part in by_column.items() if part is not None}


def _finding(scores: Scores | Pooled, index: int, tables: list[dict[str, dict[str, float]]]) -> FindingResult:
    name = NAMES[index]
    known_N, positive_N = scores.labelled(index)
    positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
    parts, columns = _components(scores, index), scores.probabilities(index)
    if not columns or not len(positive_N):
        return FindingResult(name=name, positives=positives, negatives=negatives)
    rows = [table[name] for table in tables]
    over_folds = spreads(rows)
    auc = {column: part.mean for column, part in over_folds.items()} if len(tables) > 1 else None
    best = _best(auc if auc is not None else {column: part.auc for column, part in parts.items()})
    over_best = difference_interval(parts[STACK], parts[best]) if best and not auc else None
    over_best_folds = None
    if best and auc:
        differences = [row[STACK] - row[best] for row in rows if STACK in row and best in row]
        over_best_folds = spread(differences)
        over_best = Interval(value=over_best_folds.mean, low=None, high=None)
    decided_N = scores.decided(index)[known_N]
    stack_N = columns[STACK][known_N]
    threshold = scores.threshold(index)
    precision = {
        column: average_precision(values_N[known_N], positive_N) for column, values_N in columns.items()
    }
    return FindingResult(
        name=name,
        positives=positives,
        negatives=negatives,
        auc={column: auc_interval(part) for column, part in parts.items()},
        best=best,
        over_best=over_best,
        over_best_folds=over_best_folds,
        average_precision={column: value for column, value in precision.items() if value is not None},
        folds=over_folds,
        accuracy={
            column: value
            for column, values_N in columns.items()
            if (value := accuracy(values_N[known_N], positive_N)) is not None
        },
        calibration=calibration(stack_N, positive_N),
        decisions=decision_curve(stack_N, positive_N, scores.cluster_N[known_N]),
        threshold=threshold,
        sensitivity=_share(decided_N[positive_N]),
        specificity=_share(~decided_N[~positive_N]),
    )


def _best(auc: Mapping[str, float]) -> str | None:
    """The single scale with the largest AUC; None with fewer than two."""
    single = {column: value for column, value in auc.items() if column not in (VOTING, STACK)}
    return max(single, key=lambda column: single[column]) if len(single) > 1 else None


def _share(hit_N: np.ndarray) -> float | None:
    return float(hit_N.mean()) if len(hit_N) else None


def _groups(scores: Scores | Pooled, people: People) -> list[GroupResult]:
    """By view, sex and age band; groups that are all there is, or nobody, are left out."""
    masks = [("view", view, people.view_N == view) for view in sorted(set(people.view_N.tolist()))]
    masks += [("sex", sex, people.sex_N == sex) for sex in sorted(set(people.sex_N.tolist()))]
    masks += [("age", name, band_N) for name, band_N in age_bands(people.age_N)]
    return [
        _group(by, group, scores.subset(keep_N))
        for by, group, keep_N in masks
        if group != "unknown" and keep_N.any()
    ]


def _group(by: str, group: str, scores: Scores | Pooled) -> GroupResult:
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
