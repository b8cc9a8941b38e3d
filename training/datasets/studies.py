"""Studies as samples: the images of one examination, judged together.

Legend: N images, M studies, F findings.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.datasets.manifest import Manifest
from training.datasets.sample import NEGATIVE, POSITIVE, UNCERTAIN, Labels, Sample
from training.datasets.views import FRONTAL

# What one image says against what another says of the same finding: a positive mention outweighs an uncertain
# one, that a negative one, that none at all. CheXpert's rule for mentions in a report (Irvin et al. 2019).
_OUTWEIGHS: Final = (NEGATIVE, UNCERTAIN, POSITIVE)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Study:
    """One study.

    Attributes:
        images: positions in the manifest's samples, frontal views first; at least one.
        labels_F: float32 [14], of all its images together: 1, 0, -1 or NaN.
    """

    study_id: str
    patient_id: str
    images: tuple[int, ...]
    labels_F: Labels


def group_studies(manifest: Manifest, max_images: int = 3) -> tuple[Study, ...]:
    """The studies of `manifest`, sorted by id, each with its first `max_images` images, frontal ones first.

    Three images for a study is chizari's number.

    Raises:
        ValueError: `max_images` is less than 1.
    """
    if max_images < 1:
        raise ValueError(f"max_images is {max_images}; a study needs at least 1")
    members: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(manifest.samples):
        members[sample.study_id].append(index)
    return tuple(_study(manifest.samples, members[study_id], max_images) for study_id in sorted(members))


def merged_labels(labels_NF: Labels) -> Labels:
    """Label of a study from its N images, float32 [F]: positive if any is, else uncertain, negative, NaN."""
    merged_F = np.full(labels_NF.shape[1], np.nan, np.float32)
    for value in _OUTWEIGHS:
        merged_F[(labels_NF == value).any(axis=0)] = value
    return merged_F


def _study(samples: tuple[Sample, ...], members: list[int], max_images: int) -> Study:
    ordered = sorted(members, key=lambda index: (samples[index].view not in FRONTAL, index))
    return Study(
        study_id=samples[members[0]].study_id,
        patient_id=samples[members[0]].patient_id,
        images=tuple(ordered[:max_images]),
        labels_F=merged_labels(np.stack([samples[index].labels_F for index in members])),
    )
