"""Results of a fit: of each epoch, and at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """Figures of one epoch.

    Attributes:
        number: counted from 0 through all phases, of at most `total`.
        phase: "crops", "head" or "images".
        image_loss, location_loss: means over its batches, with their augmentation; None where the phase does
            not look at them.
        validation_loss, validation_auc: over all validation images, without augmentation; the AUC is the mean
            over findings that have both classes. None where it was not validated (or no finding has both).
        learning_rate: of the head, at the epoch's end.
        images_per_second: over its training steps.
        seconds: of work on this fit up to here, before a resumption and after it.
        best: whether its weights are the best so far.
    """

    number: int
    total: int
    phase: str
    image_loss: float | None
    location_loss: float | None
    validation_loss: float | None
    validation_auc: float | None
    learning_rate: float
    images_per_second: float
    seconds: float
    best: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """A finished fit.

    Attributes:
        weights: the file of the kept weights, safetensors; the network holds the same.
        epochs: all of them, those before a resumption, too.
        kept_epoch: number of the epoch whose weights are kept.
        stopped_early: the plateau schedule stopped it.
    """

    weights: Path
    epochs: tuple[Epoch, ...]
    kept_epoch: int
    stopped_early: bool
