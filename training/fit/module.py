"""One phase of a fit as Lightning runs it: the only place where a network learns.

Legend: B units of a batch, M their images, F findings, U units of the validation, S side of the image.
"""

from __future__ import annotations

import math
import time
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from training.fit.augment import change_images, change_places, draw_changes
from training.fit.batches import Batch, Source, TrainingBatches, ValidationBatches, places_on_maps
from training.fit.calibrate import calibrate_head
from training.fit.hardware import Hardware
from training.fit.losses import cell_loss, drift_loss, image_level_loss
from training.fit.optim import Plateau, make_optimiser, one_cycle, scale_rates
from training.fit.phases import Phase
from training.fit.prefetch import Prefetch
from training.fit.scores import mean_auc, over_views
from training.fit.seeds import numpy_generator, seed_global, torch_generator
from training.networks.base import MapNetwork
from training.recipes.config import SampleUnit
from training.recipes.fitting import FitConfig

AnyBatches = TypeVar("AnyBatches", TrainingBatches, ValidationBatches)


class FitError(RuntimeError):
    """A fit that cannot go on: the message says why and what to change."""


class PhaseModule(LightningModule):
    """A network in one phase.

    Attributes:
        plateau: of the plateau schedule; kept in checkpoints by `training.fit.checkpoints`.
        image_loss, location_loss: means over the epoch's batches; None where not looked at.
        validation_loss, validation_auc: of the epoch; None where it was not validated.
        images_per_second: over the epoch's training steps.
    """

    def __init__(
        self,
        network: MapNetwork,
        phase: Phase,
        config: FitConfig,
        unit: SampleUnit,
        training: Source,
        validation: Source,
        hardware: Hardware,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.phase = phase
        self.config = config
        self.plateau = Plateau()
        self.image_loss: float | None = None
        self.location_loss: float | None = None
        self.validation_loss: float | None = None
        self.validation_auc: float | None = None
        self.images_per_second = 0.0
        self._unit = unit
        self._training = training
        self._validation = validation
        self._hardware = hardware
        self._where = (seed, training.size)
        self._sums = torch.zeros(2)
        self._logits_UF = torch.empty(0)

    def train_dataloader(self) -> TrainingBatches | Prefetch:
        return self._prefetched(self._batches())

    def _batches(self) -> TrainingBatches:
        return TrainingBatches(
            source=self._training,
            config=self.config,
            phase=self.phase,
            epoch=self.current_epoch,
            where=self._where,
            process=self._hardware.process,
            processes=self._hardware.processes,
        )

    def val_dataloader(self) -> ValidationBatches | Prefetch:
        batches = ValidationBatches(
            source=self._validation,
            batch=self.config.batch,
            process=self._hardware.process,
            processes=self._hardware.processes,
        )
        return self._prefetched(batches)

    def _prefetched(self, batches: AnyBatches) -> AnyBatches | Prefetch:
        """A CPU that learns has no time to read ahead."""
        return Prefetch(batches) if self._hardware.accelerator == "cuda" else batches

    def configure_optimizers(self) -> OptimizerLRScheduler:
        peak = self.phase.peak(self.config.reference_batch, self._hardware.processes)
        optimiser = make_optimiser(self.network, self.config, peak)
        if self.config.schedule == "plateau":
            return optimiser
        steps = self.phase.epochs * self._batches().steps
        schedule = one_cycle(optimiser, self.config, steps, frozen=self.phase.frozen)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        self.network.train()
        if self.phase.calibrate and self.current_epoch == 0:
            generator = numpy_generator(*self._where, self.phase.number)
            samples, size = self._training.samples, self._training.size
            calibrate_head(self.network, samples, size, self.config.batch, generator)

    def on_train_epoch_start(self) -> None:
        self._sums = torch.zeros(2, device=self.device)
        self.validation_loss = self.validation_auc = None
        self._seconds, self._images = 0.0, 0
        self._started = time.monotonic()

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment on the device, outside autocast; crops were cut at random, which is enough."""
        if batch.number is None or self.phase.name == "crops":
            return batch
        generator = torch_generator(*self._where, self.phase.number, self.current_epoch, batch.number)
        changes = draw_changes(self.config.augment, len(batch.images), generator)
        images = change_images(batch.images, changes)
        locations = None if batch.locations is None else change_places(batch.locations, changes)
        return batch._replace(images=images, locations=locations)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert batch.number is not None
        seed_global(*self._where, self.phase.number, self.current_epoch, batch.number)
        self._images += len(batch.images)
        evidence = self.network.evidence(batch.images)
        with torch.autocast(self.device.type, enabled=False):
            losses = self._losses(batch, evidence.float())
        self._sums += losses.detach()
        image_loss, location_loss = losses
        weight = 1.0 if self.phase.name == "crops" else self.config.location_weight
        loss: Tensor = image_loss + weight * location_loss
        return loss

    def _losses(self, batch: Batch, evidence: Tensor) -> Tensor:
        """The loss on images and that on cells, 0 where it is not looked at: [2]."""
        nothing = evidence.new_zeros(())
        if self.phase.name == "crops":
            assert batch.locations is not None
            return torch.stack([nothing, cell_loss(evidence, batch.locations)])
        logits_MF = self.network.head.output(evidence).logits
        logits_BF = over_views(logits_MF, batch.unit_of_image, len(batch.rows), self._unit)
        image_loss = image_level_loss(logits_BF, batch.labels)
        locations = places_on_maps(batch, self._training.size)
        if locations is None:
            return torch.stack([image_loss, nothing])
        return torch.stack([image_loss, cell_loss(evidence, locations) + drift_loss(evidence, locations)])

    def on_validation_epoch_start(self) -> None:
        self._stop_clock()
        units = len(self._validation.units)
        self._logits_UF = torch.full((units, len(self.network.head.bias)), -math.inf, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        evidence = self.network.evidence(batch.images)
        with torch.autocast(self.device.type, enabled=False):
            logits_MF = self.network.head.output(evidence.float()).logits
            logits_BF = over_views(logits_MF, batch.unit_of_image, len(batch.rows), self._unit)
        self._logits_UF[batch.rows] = logits_BF

    def on_validation_epoch_end(self) -> None:
        # Each process filled in its own; the others' are minus infinity.
        logits_UF = cast(Tensor, self.trainer.strategy.reduce(self._logits_UF, reduce_op="max")).cpu()
        labels_UF = self._validation.labels()
        self.validation_loss = float(image_level_loss(logits_UF.double(), labels_UF.double()))
        self.validation_auc = mean_auc(logits_UF, labels_UF)

    def on_train_epoch_end(self) -> None:
        self._stop_clock()
        self.images_per_second = self._images * self._hardware.processes / max(self._seconds, 1e-9)
        sums = cast(Tensor, self.trainer.strategy.reduce(self._sums, reduce_op="mean"))
        image_loss, location_loss = (sums / len(self._batches())).tolist()
        with_locations = self.phase.name == "crops" or self.config.location_weight > 0
        self.image_loss = None if self.phase.name == "crops" else image_loss
        self.location_loss = location_loss if with_locations else None
        self._check_finite(image_loss + location_loss, "training")
        if self.validation_loss is not None:
            self._check_finite(self.validation_loss, "validation")
            if self.config.schedule == "plateau":
                scale_rates(self._optimisers(), self.plateau.update(self.validation_loss, self.config))
                self.trainer.should_stop = self.plateau.stops(self.config)

    def learning_rate(self) -> float:
        """The rate of the head, the last group."""
        return float(self._optimisers()[0].param_groups[-1]["lr"])

    def _optimisers(self) -> list[Optimizer]:
        return self.trainer.optimizers

    def _stop_clock(self) -> None:
        """Time training alone: the validation lies between its last step and the epoch's end."""
        if not self._seconds:
            self._seconds = time.monotonic() - self._started

    def _check_finite(self, loss: float, what: str) -> None:
        if not math.isfinite(loss):
            raise FitError(
                f"the {what} loss at {self._training.size} px is {loss} in epoch {self.current_epoch} of the "
                f"phase {self.phase.name}: lower learning_rate, set clip_norm, or precision to 32"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        plateau = self.plateau
        checkpoint["plateau"] = [plateau.lowest, plateau.since_lowest, plateau.since_cut]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        lowest, since_lowest, since_cut = checkpoint["plateau"]
        self.plateau = Plateau(lowest=lowest, since_lowest=since_lowest, since_cut=since_cut)
