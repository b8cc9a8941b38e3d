"""Material of a report's figures, besides the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.datasets.labels import CoOccurrence
from training.report.cams import Example
from training.report.facts import RunFacts
from training.report.fields import MeasuredField
from training.report.outputs import Output
from training.report.pooled import Pooled
from training.report.scores import Scores


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictured:
    """Scores, examples and measured fields that the figures are drawn from.

    Attributes:
        scores: of the bundle; curves: those that the curves show, with folds all of theirs.
        fields: effective receptive fields, by size.
        co_occurrence: of the labels; None where there are none.
        folds: number of folds that receptive fields and examples are of.
        outputs: images with their labels and the stack's answers.
        levels: one image at each size.
    """

    scores: Scores
    curves: Scores | Pooled
    examples: Sequence[Example]
    fields: dict[int, MeasuredField]
    co_occurrence: CoOccurrence | None
    run: RunFacts
    folds: int = 1
    outputs: Sequence[Output] = ()
    levels: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
