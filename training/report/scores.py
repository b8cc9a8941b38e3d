"""What a bundle says of a test set, through the path that serves.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.bundle import Contract
from cxrserve.ensemble.early import Arithmetic
from cxrserve.ensemble.predictor import Levels, Prediction, Predictor
from cxrserve.ensemble.stack import sigmoid, stacked
from cxrserve.findings import NAMES
from cxrserve.settings import Settings
from training.samples import Samples

Floats = NDArray[np.float64]
VOTING: Final = "voting"
STACK: Final = "stack"

# Passes the steps of a loop on, showing how far it is: (steps, what, total).
Track = Callable[[Iterable[Prediction], str, int], Iterable[Prediction]]


def untracked(steps: Iterable[Prediction], what: str, total: int) -> Iterable[Prediction]:
    """`steps` as they are."""
    return steps


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """One bundle on one test set.

    Attributes:
        contract, sha256: the bundle's.
        data: the test set, in words.
        engine: what computed, e.g. "openvino 2026.4 in bf16".
        logits_NFS: float64 [N, 14, S].
        labels_NF: float32 [N, 14], 0, 1, or NaN where nothing is known.
        study_N: int64 [N], equal for images of one study.
        engine_ms: by size, the median time of that member for one image.
        group_N: after `by_study`, the study of each image; the labels are then the studies'.
        arithmetic: of the engine; None where nobody noted it.
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

    def __len__(self) -> int:
        return len(self.labels_NF)

    @property
    def unit(self) -> str:
        """What is counted: "images" or "studies"."""
        return "images" if self.group_N is None else "studies"

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.contract.preprocessing.sizes

    @property
    def columns(self) -> tuple[str, ...]:
        """What is compared: each scale alone, plain averaging, the stack."""
        single = tuple(str(size) for size in self.sizes)
        return (*single, VOTING, STACK) if len(single) > 1 else (*single, STACK)

    def probabilities(self, finding: int) -> dict[str, Floats]:
        """By column, float64 [N] (of studies after `by_study`); scales that do not know it are left out."""
        name, logits_NS = NAMES[finding], self.logits_NFS[:, finding]
        known = [index for index, member in enumerate(self.contract.members) if member.knows(name)]
        if not known:
            return {}
        single_NS = sigmoid(logits_NS)
        columns = {str(self.sizes[index]): single_NS[:, index] for index in known}
        weights_FS = np.array([self.contract.stack[finding]])
        columns[VOTING] = single_NS[:, known].mean(1)
        columns[STACK] = stacked(logits_NS[:, None], weights_FS)[:, 0]
        return {column: self._ruled(columns[column]) for column in self.columns if column in columns}

    def labelled(self, finding: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where the finding's label is known, bool [N], and the labels there."""
        labels_N = self.labels_NF[:, finding]
        known_N = ~np.isnan(labels_N)
        return known_N, labels_N[known_N] > 0.5

    def subset(self, keep_N: NDArray[np.bool_]) -> Scores:
        """The images where `keep_N` (bool [N]) is true; before `by_study`."""
        assert self.group_N is None
        return replace(
            self,
            logits_NFS=self.logits_NFS[keep_N],
            labels_NF=self.labels_NF[keep_N],
            study_N=self.study_N[keep_N],
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
        most = np.zeros(len(self))
        np.maximum.at(most, self.group_N, probabilities_N)
        return most


def score_bundle(
    bundle: Path, samples: Samples, data: str, *, settings: Settings | None = None, track: Track = untracked
) -> Scores:
    """The bundle's scores of cached pyramids, on the engine that would serve it here."""
    predictor = Predictor.open((settings or Settings()).model_copy(update={"bundle": bundle}))
    predictor.warm_up()
    sizes = predictor.sizes
    levels = ({size: samples.level(size)[index] for size in sizes} for index in range(len(samples)))
    predictions = list(track(_predictions(predictor, levels), f"score {data}", len(samples)))
    return collect(predictor, predictions, samples.labels_NF, samples.study_N, data)


def _predictions(predictor: Predictor, levels: Iterable[Levels]) -> Iterator[Prediction]:
    for each in levels:
        yield predictor.predict(
            {size: np.ascontiguousarray(level) for size, level in each.items()}, explain="none"
        )


def collect(
    predictor: Predictor,
    predictions: list[Prediction],
    labels_NF: NDArray[np.float32],
    study_N: NDArray[np.int64],
    data: str,
) -> Scores:
    """`predictions` of images with these labels as Scores.

    Raises:
        ValueError: there are no images.
    """
    if not predictions:
        raise ValueError(f"there is no image to score in {data}")
    choice = predictor.choice
    return Scores(
        contract=predictor.bundle.contract,
        sha256=predictor.bundle.sha256,
        data=data,
        engine=f"{choice.name} {choice.version.split('-')[0]} in {choice.precision}",
        logits_NFS=np.stack([prediction.logits_FS for prediction in predictions]),
        labels_NF=labels_NF,
        study_N=study_N,
        arithmetic=predictor.arithmetic,
        engine_ms={
            size: float(np.median([prediction.timing_ms[f"engine_{size}"] for prediction in predictions]))
            for size in predictor.sizes
        },
    )
