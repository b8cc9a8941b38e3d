"""A fit's phases, each under an optimiser of its own: crops, the head alone, everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.recipes.fitting import FitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Some epochs under one optimiser.

    Attributes:
        number: 0, 1, 2 of crops, head, images, whichever of them there are: randomness is seeded by it.
        first_epoch: epochs of the phases before.
        learning_rate: peak, for the reference batch.
        frozen: the body does not learn, but for its normalisations.
        calibrate: the head is brought to a sensible start first.
    """

    number: int
    name: Literal["crops", "head", "images"]
    first_epoch: int
    epochs: int
    batch: int
    accumulate: int
    learning_rate: float
    frozen: bool = False
    calibrate: bool = False

    def peak(self, reference_batch: int | None, processes: int) -> float:
        """The learning rate for this phase's effective batch on so many processes: scaled linearly."""
        if reference_batch is None:
            return self.learning_rate
        return self.learning_rate * self.batch * self.accumulate * processes / reference_batch


def phases_of(config: FitConfig) -> tuple[Phase, ...]:
    """The phases of `config` that have epochs, in order."""
    crops = Phase(
        number=0,
        name="crops",
        first_epoch=0,
        epochs=config.crop_epochs,
        batch=config.crop_batch,
        accumulate=1,
        learning_rate=config.crop_learning_rate,
    )
    head = Phase(
        number=1,
        name="head",
        first_epoch=config.crop_epochs,
        epochs=config.frozen_epochs,
        batch=config.batch,
        accumulate=config.accumulate,
        learning_rate=config.frozen_learning_rate,
        frozen=True,
        calibrate=config.crop_epochs > 0,
    )
    images = Phase(
        number=2,
        name="images",
        first_epoch=config.crop_epochs + config.frozen_epochs,
        epochs=config.epochs,
        batch=config.batch,
        accumulate=config.accumulate,
        learning_rate=config.learning_rate,
        calibrate=config.crop_epochs > 0 and not config.frozen_epochs,
    )
    return tuple(phase for phase in (crops, head, images) if phase.epochs)
