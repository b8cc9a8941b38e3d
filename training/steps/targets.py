"""Targets of a recipe from a dataset's labels: policy, view, unit, one finding.

Legend: N images, F findings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import INDEX
from training.datasets import Manifest, group_studies, keep_views
from training.datasets.faults import DatasetError
from training.datasets.labels import apply_policy, study_targets, with_a_positive
from training.recipes import DatasetData

Labels = NDArray[np.float32]


def kept(manifest: Manifest, data: DatasetData) -> Manifest:
    """The images of `manifest` that a recipe with `data` uses.

    Raises:
        DatasetError: none is left.
    """
    manifest = keep_views(manifest, data.views)
    keep_N = np.ones(len(manifest), np.bool_)
    if data.sample_unit.kind == "studies":
        keep_N[:] = False
        for study in group_studies(manifest, data.sample_unit.max_views):
            keep_N[list(study.images)] = True
    if data.finding is not None:
        keep_N &= study_targets(_said(manifest, data), data.finding)[1]
    if data.with_a_positive:
        keep_N &= with_a_positive(np.nan_to_num(targets(manifest, data)))
    if not keep_N.any():
        raise DatasetError(
            f"no image of {manifest.source} is left: the recipe asks for views {data.views}"
            + (f", for {data.finding}, denied or not, or No Finding" if data.finding else "")
            + (", for a positive label" if data.with_a_positive else "")
        )
    return manifest.subset(keep_N)


def targets(manifest: Manifest, data: DatasetData) -> Labels:
    """float32 [N, 14]: 0, 1, or NaN where nothing is to be learnt."""
    said_NF = _said(manifest, data)
    if data.finding is not None:
        targets_NF = np.full_like(said_NF, np.nan)
        targets_NF[:, INDEX[data.finding]] = study_targets(said_NF, data.finding)[0]
        return targets_NF
    targets_NF, mask_NF = apply_policy(said_NF, data.policy, manifest.annotated)
    return np.where(mask_NF, targets_NF, np.float32(np.nan)).astype(np.float32)


def _said(manifest: Manifest, data: DatasetData) -> Labels:
    """Labels as the source has them; of a study where that is the unit."""
    labels_NF = manifest.labels_NF()
    if data.sample_unit.kind == "images":
        return labels_NF
    merged_NF = np.empty_like(labels_NF)
    for study in group_studies(manifest, max_images=len(manifest)):
        merged_NF[list(study.images)] = study.labels_F
    return merged_NF
