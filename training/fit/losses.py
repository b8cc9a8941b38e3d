"""Losses: image-level cross-entropy, and cell-level losses for data with known locations.

Legend: B images of a batch, F findings, h and w the grid of the maps.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from cxrserve.findings import NAMES


def image_level_loss(logits_BF: Tensor, labels_BF: Tensor) -> Tensor:
    """Binary cross-entropy of the logits, mean over what is known: labels that are NaN do not count.

    Zero, with zero gradients, where nothing is known.
    """
    known_BF = ~labels_BF.isnan()
    entropy_BF = functional.binary_cross_entropy_with_logits(
        logits_BF, labels_BF.nan_to_num(), reduction="none"
    )
    return (entropy_BF * known_BF).sum() / known_BF.sum().clamp(min=1)


# A cell's log odds where its evidence is zero: findings are small.
CELL_PRIOR: Final = -6.0
# Weight of the squared evidence of absent cells.
QUIET: Final = 0.02
# "No Finding" is nowhere; its map is left to the loss on images.
PLACED: Final = [index for index, name in enumerate(NAMES) if name != "No Finding"]


def cell_loss(evidence_BFhw: Tensor, places_BFhw: Tensor) -> Tensor:
    """Binary cross-entropy of each cell's evidence, and the square of the evidence of absent cells.

    A trick of the demo's recipe: phantoms know where their findings lie. It asks one question a cell instead
    of one an image, which makes a thousand phantoms enough, and maps that point at the right place.

    Absent cells, as many as they are, weigh the square root of what their number would give them. Their
    square is there because a logit is a mean: a background that wanders below zero, thousands of cells
    strong, drowns a finding of four cells as surely as false alarms do.
    """
    evidence, locations = evidence_BFhw[:, PLACED], places_BFhw[:, PLACED]
    entropy = functional.binary_cross_entropy_with_logits(evidence + CELL_PRIOR, locations, reduction="none")
    absent = 1 - locations
    present_F = locations.sum((0, 2, 3)).clamp(min=1)
    absent_F = absent.sum((0, 2, 3)).clamp(min=1)
    missed_F = (entropy * locations).sum((0, 2, 3)) / present_F
    false_F = (entropy * absent).sum((0, 2, 3)) / (present_F * absent_F).sqrt()
    quiet_F = (evidence.square() * absent).sum((0, 2, 3)) / absent_F
    return (missed_F + false_F + QUIET * quiet_F).mean()


# Weight of the drift, and the evidence of a present cell that it is measured against.
DRIFT: Final = 0.1
PRESENT_EVIDENCE: Final = 8.0


def drift_loss(evidence_BFhw: Tensor, places_BFhw: Tensor) -> Tensor:
    """The sum of the evidence of absent cells, relative to what a present finding contributes.

    Of four thousand cells at 2048 each may be as good as silent, and their sum still drown a hairline's.
    """
    evidence, locations = evidence_BFhw[:, PLACED], places_BFhw[:, PLACED]
    cells_BF = locations.sum((2, 3))
    typical_F = (cells_BF.sum(0) / (cells_BF > 0).sum(0).clamp(min=1)).clamp(min=1)
    absent_BF = (evidence * (1 - locations)).sum((2, 3)) / (PRESENT_EVIDENCE * typical_F)
    # A finding that no image of the batch has tells no typical size.
    seen_F = (cells_BF.sum(0) > 0).float()
    return (
        DRIFT
        * (
            functional.smooth_l1_loss(absent_BF, torch.zeros_like(absent_BF), reduction="none") * seen_F
        ).mean()
    )
