"""After every epoch: is it the best, and the state that a killed fit goes on from."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from training.fit.fit_state import LAST, TENSORBOARD, FitState, save_weights, write_metrics
from training.fit.module import FitError, PhaseModule
from training.fit.result import Epoch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

OnEpoch = Callable[[Epoch], None]


class Checkpoints(Checkpoint):
    """Writes weights, figures and state. A `Checkpoint`, since Lightning calls those after all others."""

    def __init__(self, record: FitState, folder: Path, total: int, on_epoch: OnEpoch | None) -> None:
        self._record = record
        self._folder = folder
        self._total = total
        self._on_epoch = on_epoch
        self._seconds_before = record.seconds
        self._began = time.monotonic()
        self._writer: SummaryWriter | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PhaseModule)
        module, record = pl_module, self._record
        epoch = self._epoch(module)
        record.epochs.append(epoch)
        record.phase = module.phase.number
        # Stopping early skips nothing but epochs of the plateau schedule, whose phase is the last.
        record.stopped_early = trainer.should_stop
        record.phase_done = trainer.should_stop or module.current_epoch + 1 == module.phase.epochs
        if trainer.is_global_zero:
            if epoch.best:
                save_weights(module.network, self._folder)
            write_metrics(record.epochs, self._folder)
            self._write_tensorboard(epoch)
        trainer.save_checkpoint(self._folder / f"{LAST}.new")
        if trainer.is_global_zero:
            os.replace(self._folder / f"{LAST}.new", self._folder / LAST)
            if self._on_epoch is not None:
                self._on_epoch(epoch)

    def close(self) -> None:
        """Close what is open, whether or not the phase came to its end."""
        if self._writer is not None:
            self._writer.close()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["fit"] = self._record.plain()

    def _epoch(self, module: PhaseModule) -> Epoch:
        best = self._is_best(module)
        number = module.phase.first_epoch + module.current_epoch
        if best:
            self._record.kept = number
        return Epoch(
            number=number,
            total=self._total,
            phase=module.phase.name,
            image_loss=module.image_loss,
            location_loss=module.location_loss,
            validation_loss=module.validation_loss,
            validation_auc=module.validation_auc,
            learning_rate=module.learning_rate(),
            images_per_second=module.images_per_second,
            seconds=self._seconds_before + time.monotonic() - self._began,
            best=best,
        )

    def _is_best(self, module: PhaseModule) -> bool:
        kind = module.config.best
        if kind == "last" or module.validation_loss is None:
            return kind == "last" and module.phase.name == "images"
        figure = module.validation_loss if kind == "loss" else module.validation_auc
        if figure is None:
            raise FitError(
                "best is auc, and no finding has both positives and negatives among the validation images: "
                "set best to loss, or give more of them"
            )
        before = self._record.best
        if before is None or (figure < before if kind == "loss" else figure > before):
            self._record.best = figure
            return True
        return False

    def _write_tensorboard(self, epoch: Epoch) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            # What a killed fit wrote of epochs that are done again is purged.
            self._writer = SummaryWriter(str(self._folder / TENSORBOARD), purge_step=epoch.number)
        for name, value in dataclasses.asdict(epoch).items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, epoch.number)
        self._writer.flush()
