"""Scores of a validation: which epoch is kept depends on them.

Legend: U units, F findings.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.recipes.config import SampleUnit


def over_views(logits_MF: Tensor, owner_M: Tensor, units: int, config: SampleUnit) -> Tensor:
    """Logits of images to logits of the units they belong to, [units, F].

    The logit of the largest probability, or the log odds of the mean of the probabilities.
    """
    if config.kind == "images":
        return logits_MF
    owner_MF = owner_M[:, None].expand_as(logits_MF)
    start = logits_MF.new_zeros(units, logits_MF.shape[1])
    if config.over_views == "maximum":
        return start.scatter_reduce(0, owner_MF, logits_MF, "amax", include_self=False)
    means = start.scatter_reduce(0, owner_MF, logits_MF.sigmoid(), "mean", include_self=False)
    return means.logit(eps=1e-6)


def mean_auc(logits_UF: Tensor, labels_UF: Tensor) -> float | None:
    """Mean area under the ROC curve over findings that have both classes; None where none has."""
    from torchmetrics.functional.classification import binary_auroc

    areas = []
    for logits_U, labels_U in zip(logits_UF.T, labels_UF.T, strict=True):
        known_U = ~labels_U.isnan()
        if len(labels_U[known_U].unique()) > 1:
            # Not logits: torchmetrics would take them through a sigmoid in float32, which ties large ones.
            ranks = logits_U[known_U].unique(return_inverse=True)[1].double()
            areas.append(binary_auroc(ranks / (ranks.max() + 1), labels_U[known_U].long()))
    return float(torch.stack(areas).mean()) if areas else None
