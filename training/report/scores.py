"""Scores of a bundle on a test set, through the path that serves.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial as partial_call
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.calibration import Unit
from cxrserve.bundle.contract import Contract
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.ensemble.predictor import Predictor
from cxrserve.ensemble.stack import sigmoid, stacked
from cxrserve.findings import NAMES
from cxrserve.settings import Settings
from training.datasets.sample import Sample
from training.datasets.samples import Pyramids, Samples
from training.report.partial_scores import PartialScores
from training.report.score_images import Scored, open_for_many, score_images

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
VOTING: Final = "voting"
STACK: Final = "stack"

# Passes the steps of a loop on, showing how far it is: (steps, what, total).
Track = Callable[[Iterable[Any], str, int], Iterable[Any]]


def untracked(steps: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """`steps` as they are."""
    return steps


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """One bundle on one test set.

    Attributes:
        contract, sha256: the bundle's.
        data: the test set, in words.
        engine: what computed, e.g. "openvino 2026.4 in bf16".
        logits_NFS: float64 [N, 14, S], as they are stacked: after the calibration of each member, if any.
        labels_NF: float32 [N, 14], 0, 1, or NaN where nothing is known.
        study_N: int64 [N], equal for images of one study.
        engine_ms: by size, the median time of that member for one image.
        group_N: after `by_study`, the study of each image; the labels are then the studies'.
        arithmetic: of the engine; None where nobody noted it.
        patient_N: int64 [N], equal for images of one patient; None where that is not known.
    """

    contract: Contract
    sha256: str
    data: str
    engine: str
    logits_NFS: Floats
    labels_NF: NDArray[np.float32]
    study_N: NDArray[np.int64]
    engine_ms: dict[int, float]
    group_N: NDArray[np.int64] | None = None
    arithmetic: Arithmetic | None = None
    patient_N: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels_NF)

    @property
    def unit(self) -> Unit:
        """Unit that is counted: "images" or "studies"."""
        return "images" if self.group_N is None else "studies"

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.contract.preprocessing.sizes

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are compared: each scale alone, plain averaging, the stack."""
        single = tuple(str(size) for size in self.sizes)
        return (*single, VOTING, STACK) if len(single) > 1 else (*single, STACK)

    def probabilities(self, finding: int) -> dict[str, Floats]:
        """By column, float64 [N] (of studies after `by_study`); scales that do not know it are left out.

        The stack's are calibrated by the bundle; the others are what is stacked, and their mean.
        """
        name, logits_NS = NAMES[finding], self.logits_NFS[:, finding]
        known = [index for index, member in enumerate(self.contract.members) if member.supports(name)]
        if not known:
            return {}
        single_NS = sigmoid(logits_NS)
        columns = {str(self.sizes[index]): single_NS[:, index] for index in known}
        weights_FS = np.array([self.contract.stack[finding]])
        columns[VOTING] = single_NS[:, known].mean(1)
        columns[STACK] = stacked(logits_NS[:, None], weights_FS)[:, 0]
        ruled = {column: self._ruled(columns[column]) for column in self.columns if column in columns}
        ruled[STACK] = self.contract.calibration_of(name, self.unit).apply(ruled[STACK])
        return ruled

    def labelled(self, finding: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Mask of known labels of a finding, bool [N], and the labels there."""
        labels_N = self.labels_NF[:, finding]
        known_N = ~np.isnan(labels_N)
        return known_N, labels_N[known_N] > 0.5

    @property
    def cluster_N(self) -> NDArray[np.int64]:
        """Equal for images (or studies) of one patient, or of one study where patients are unknown."""
        images_N = self.study_N if self.patient_N is None else self.patient_N
        if self.group_N is None:
            return images_N
        return images_N[np.unique(self.group_N, return_index=True)[1]]

    def decided(self, finding: int) -> NDArray[np.bool_]:
        """Decisions of the stack at the bundle's operating point, bool [N] (of studies after `by_study`)."""
        return np.asarray(self.probabilities(finding)[STACK] >= self.threshold(finding))

    def threshold(self, finding: int) -> float:
        """The bundle's operating point for images, or for studies after `by_study`."""
        point = self.contract.point_of(NAMES[finding], self.unit)
        assert point is not None
        return point.threshold

    def subset(self, keep_N: NDArray[np.bool_]) -> Scores:
        """The images where `keep_N` (bool [N]) is true; before `by_study`."""
        assert self.group_N is None
        return replace(
            self,
            logits_NFS=self.logits_NFS[keep_N],
            labels_NF=self.labels_NF[keep_N],
            study_N=self.study_N[keep_N],
            patient_N=None if self.patient_N is None else self.patient_N[keep_N],
        )

    def by_study(self) -> Scores:
        """One row for each study: the bundle's rule over its images, and a finding that any of them shows."""
        studies, group_N = np.unique(self.study_N, return_inverse=True)
        labels = np.full((len(studies), len(NAMES)), -1.0, np.float32)
        np.maximum.at(labels, group_N, np.nan_to_num(self.labels_NF, nan=-1.0))
        labels[labels < 0] = np.nan
        return replace(self, labels_NF=labels, group_N=group_N)

    def _ruled(self, probabilities_N: Floats) -> Floats:
        """Of images to probabilities of studies, by the bundle's rule."""
        if self.group_N is None:
            return probabilities_N
        if self.contract.study_rule == "mean":
            return np.bincount(self.group_N, probabilities_N) / np.bincount(self.group_N)
        maximum = np.zeros(len(self))
        np.maximum.at(maximum, self.group_N, probabilities_N)
        return maximum


def score_bundle(
    bundle: Path,
    samples: Pyramids,
    data: str,
    *,
    settings: Settings | None = None,
    track: Track = untracked,
    partial: Path | None = None,
) -> Scores:
    """The bundle's scores of cached pyramids, on the engine that would serve it here.

    Args:
        partial: folder for scores as they come; a call with the same folder continues a killed one.

    Raises:
        ValueError: there are no images.
    """
    if not len(samples):
        raise ValueError(f"there is no image to score in {data}")
    predictor = open_for_many((settings or Settings()).model_copy(update={"bundle": bundle}))
    rows = PartialScores(partial, len(samples), predictor.sizes)
    pending = rows.pending()
    jobs = ((index, partial_call(samples.pyramid, index)) for index in pending)
    fill(rows, score_images(predictor, jobs), f"score {data}", len(pending), track)
    return scores_of(predictor, rows, samples, data)


def fill(rows: PartialScores, scored: Iterable[Scored], what: str, count: int, track: Track) -> None:
    """Keep the scores of `count` images as they come."""

    def kept() -> Iterator[int]:
        for index, prediction in scored:
            yield index
            rows.put(index, prediction)

    for _ in track(kept(), what, count):
        pass
    rows.flush()


def patients_of_samples(samples: Samples) -> NDArray[np.int64] | None:
    """Equal numbers for images of one patient, int64 [N]; None where the samples have no patients."""
    records: Sequence[Sample] = getattr(samples, "records", ())
    if not records:
        return None
    ids = [sample.patient_id for sample in records]
    return np.unique(ids, return_inverse=True)[1].astype(np.int64)


def scores_of(
    predictor: Predictor, rows: PartialScores, samples: Samples, data: str, *, index_N: Indices | None = None
) -> Scores:
    """The scores in `rows` of `samples`, of those at `index_N` where not all rows were scored."""
    choice = predictor.choice
    return Scores(
        contract=predictor.bundle.contract,
        sha256=predictor.bundle.sha256,
        data=data,
        engine=f"{choice.name} {choice.version.split('-')[0]} in {choice.precision}",
        logits_NFS=rows.logits_NFS if index_N is None else rows.logits_NFS[index_N],
        labels_NF=samples.labels_NF,
        study_N=samples.study_N,
        arithmetic=predictor.arithmetic,
        engine_ms=rows.engine_ms,
        patient_N=patients_of_samples(samples),
    )
