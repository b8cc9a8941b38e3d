"""Counts of the labels that a recipe learns from, and the check against its paper's.

Legend: N images, F findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxrserve.findings import INDEX, NAMES
from training.datasets import DatasetError, Manifest
from training.datasets.published_counts import (
    IMAGES,
    NEGATIVE,
    POSITIVE,
    STUDIES,
    Compared,
    compare,
    published_counts,
)
from training.datasets.sample import Sample
from training.recipes import DatasetData, Recipe, recipe
from training.steps.progress import Progress
from training.steps.run import Run
from training.steps.targets import targets


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingCount:
    """Units with a finding, without it, and those of which nothing is to be learnt."""

    finding: str
    positive: int
    negative: int
    masked: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelCounts:
    """Counts of everything that a recipe keeps of its datasets.

    Attributes:
        unit: "images" or "studies": what `findings` counts.
    """

    images: int
    studies: int
    patients: int
    unit: str
    findings: tuple[FindingCount, ...]


def count_labels(manifests: Sequence[Manifest], data: DatasetData) -> LabelCounts:
    """The counts of `manifests`, which hold what the recipe keeps of each dataset."""
    unit = data.sample_unit.kind
    tables = [targets(manifest, data)[_units(manifest, unit)] for manifest in manifests]
    labels_NF = np.concatenate(tables)
    return LabelCounts(
        images=sum(len(manifest) for manifest in manifests),
        studies=sum(len({_study(sample) for sample in manifest.samples}) for manifest in manifests),
        patients=len(
            {(_family(manifest), sample.patient_id) for manifest in manifests for sample in manifest.samples}
        ),
        unit=unit,
        findings=tuple(
            FindingCount(
                finding=name,
                positive=int((labels_NF[:, index] == 1).sum()),
                negative=int((labels_NF[:, index] == 0).sum()),
                masked=int(np.isnan(labels_NF[:, index]).sum()),
            )
            for index, name in enumerate(NAMES)
            if data.finding in (None, name)
        ),
    )


def compared_counts(run_recipe: Recipe, manifests: Sequence[Manifest]) -> list[Compared]:
    """The paper's counts beside the dataset's; empty where the paper is of other data or other labels.

    Another finding, policy, view or unit than the recipe's own is named as a changed setting, and has no
    published counts.
    """
    data = run_recipe.data
    if len(manifests) != 1 or not isinstance(data, DatasetData):
        return []
    try:
        own = recipe(run_recipe.name).data
    except ValueError:
        return []
    if not isinstance(own, DatasetData) or replace(data, split=own.split, source=own.source) != own:
        return []
    (manifest,) = manifests
    here = {IMAGES: len(manifest), STUDIES: len({_study(sample) for sample in manifest.samples})}
    if data.finding is not None:
        here |= _training_studies(manifest, data, data.finding)
    return compare(here, published_counts(run_recipe.name, manifest.source))


def check_counts(run: Run, manifests: Sequence[Manifest], progress: Progress) -> None:
    """Refuse a dataset of the paper's kind with other counts than the paper's, unless it was asked for.

    Raises:
        DatasetError: the counts differ, and `run.other_counts` is not set.
    """
    compared = compared_counts(run.recipe, manifests)
    for line in compared:
        progress.say(f"{manifests[0].source}, {line}")
    if refusal := why_refused(run, compared):
        raise DatasetError(refusal)


def why_refused(run: Run, compared: Sequence[Compared]) -> str | None:
    """The sentence that refuses counts which are not the paper's; None where they may be used."""
    differing = [str(line) for line in compared if line.differs]
    if not differing or run.other_counts:
        return None
    return (
        f"the data of {run.data[0]} is not what {run.recipe.source} used ({'; '.join(differing)}): files or "
        "rows are missing, or it is another release. Give --other-counts to train on it all the same; the "
        "bundle will say so"
    )


def _training_studies(manifest: Manifest, data: DatasetData, finding: str) -> dict[str, int]:
    rows = [row for row in _units(manifest, "studies") if manifest.samples[row].split == "train"]
    labels_N = targets(manifest, data)[rows, INDEX[finding]]
    return {POSITIVE: int((labels_N == 1).sum()), NEGATIVE: int((labels_N == 0).sum())}


def _units(manifest: Manifest, unit: str) -> list[int]:
    """Rows that stand for a unit: every image, or the first image of each study."""
    if unit == "images":
        return list(range(len(manifest)))
    first: dict[tuple[str, str], int] = {}
    for row, sample in enumerate(manifest.samples):
        first.setdefault(_study(sample), row)
    return list(first.values())


def _study(sample: Sample) -> tuple[str, str]:
    return sample.patient_id, sample.study_id


def _family(manifest: Manifest) -> str:
    return "mimic" if manifest.source.startswith("mimic") else manifest.source
