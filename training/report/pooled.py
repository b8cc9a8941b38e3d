"""Pooled scores of a cross-validation: each image scored by the bundle that did not train on its patient.

Legend: N images of all folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Contract
from training.report.scores import Floats, Scores


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pooled:
    """The scores of several folds, one after the other; each fold keeps its own weights and thresholds."""

    folds: Sequence[Scores]

    def __len__(self) -> int:
        return sum(len(fold) for fold in self.folds)

    @property
    def contract(self) -> Contract:
        """The first fold's."""
        return self.folds[0].contract

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the scales."""
        return self.folds[0].sizes

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are compared."""
        return self.folds[0].columns

    @property
    def data(self) -> str:
        """The images in words."""
        return f"{len(self):,} test {self.folds[0].unit} of {len(self.folds)} folds"

    def probabilities(self, finding: int) -> dict[str, Floats]:
        """Probabilities by column, float64 [N]; columns that a fold lacks are left out."""
        parts = [fold.probabilities(finding) for fold in self.folds]
        shared = [column for column in parts[0] if all(column in part for part in parts)]
        return {column: np.concatenate([part[column] for part in parts]) for column in shared}

    def labelled(self, finding: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Mask of known labels of a finding, bool [N], and the labels there."""
        parts = [fold.labelled(finding) for fold in self.folds]
        return np.concatenate([known for known, _ in parts]), np.concatenate([label for _, label in parts])

    @property
    def cluster_N(self) -> NDArray[np.int64]:
        """Equal for images of one patient, int64 [N]; each fold tests other patients."""
        parts = [np.unique(fold.cluster_N, return_inverse=True)[1] for fold in self.folds]
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
        return np.concatenate([part + start for part, start in zip(parts, starts, strict=True)])

    def subset(self, keep_N: NDArray[np.bool_]) -> Pooled:
        """The images where `keep_N` (bool [N]) is true; before `by_study`."""
        ends = np.cumsum([len(fold) for fold in self.folds])[:-1]
        parts = zip(self.folds, np.split(keep_N, ends), strict=True)
        return Pooled(folds=[fold.subset(keep) for fold, keep in parts])

    def decided(self, finding: int) -> NDArray[np.bool_]:
        """Decisions of the stack, bool [N], each fold's at its own operating point."""
        return np.concatenate([fold.decided(finding) for fold in self.folds])

    def threshold(self, finding: int) -> float:
        """The first fold's operating point."""
        return self.folds[0].threshold(finding)
