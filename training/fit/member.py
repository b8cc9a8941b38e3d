"""Fit the network of one size: its phases one after the other, resumed where a killed fit was."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from training.datasets.samples import Samples
from training.fit.batches import Source, Units
from training.fit.checkpoints import Checkpoints, OnEpoch
from training.fit.fit_state import LAST, WEIGHTS, FitState, load_last, load_weights, read_record, set_fields
from training.fit.hardware import Hardware
from training.fit.module import PhaseModule
from training.fit.optim import freeze_body
from training.fit.phases import phases_of
from training.fit.result import FitResult
from training.networks.base import STRIDE, MapHead, MapNetwork
from training.recipes.config import SampleUnit
from training.recipes.fitting import FitConfig


def fit_member(
    network: MapNetwork,
    training: Samples,
    validation: Samples,
    size: int,
    config: FitConfig,
    *,
    folder: Path,
    seed: int,
    unit: SampleUnit | None = None,
    hardware: Hardware | None = None,
    on_epoch: OnEpoch | None = None,
) -> FitResult:
    """Fit `network` in place to the level `size` of `training`; it ends with the weights that are kept.

    `folder` gets `weights.safetensors`, `metrics.csv`, `tensorboard/` and `last.ckpt`, from which a fit that
    was killed goes on: on a CPU to the same weights, bit for bit, as one that was not. A finished fit is
    returned as it is.

    Args:
        network: as it starts; the caller makes it from `seed`, the same each time.
        seed: of orders, augmentation and dropout, which depend on it, the epoch and the batch alone.
        unit: of a sample; default images.
        hardware: that it runs on; default what is here.
        on_epoch: called after every epoch, on the first process.

    Raises:
        ValueError: the data or the network cannot do what `config` asks, or `folder` holds another fit.
        FitError: a loss is no longer finite, or an AUC was asked for and cannot be had.
    """
    hardware = hardware or Hardware.here()
    unit = unit or SampleUnit()
    source = Source(samples=training, units=Units(training, unit), size=size)
    held_out = Source(samples=validation, units=Units(validation, unit), size=size)
    _check(network, source, held_out, config, hardware)
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = repr((size, seed, len(training), len(validation), set_fields(unit), set_fields(config)))
    record = read_record(folder, fingerprint)
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    if record.epochs:
        load_last(network, folder)
    total = sum(phase.epochs for phase in phases_of(config))
    with _quiet():
        for phase in phases_of(config):
            if phase.number < record.phase or (phase.number == record.phase and record.phase_done):
                continue
            module = PhaseModule(network, phase, config, unit, source, held_out, hardware, seed)
            checkpoints = Checkpoints(record, folder, total, on_epoch)
            _run(module, checkpoints, record, folder, hardware)
    load_weights(network, folder)
    return FitResult(
        weights=folder / WEIGHTS,
        epochs=tuple(record.epochs),
        kept_epoch=record.kept,
        stopped_early=record.stopped_early,
    )


def _run(
    module: PhaseModule, checkpoints: Checkpoints, record: FitState, folder: Path, hardware: Hardware
) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    trainer = _trainer(module, checkpoints, hardware)
    # Of this phase there are epochs in the last state, or it begins with the weights as they are.
    resumed = record.phase == module.phase.number
    freeze_body(module.network, module.phase.frozen)
    try:
        trainer.fit(module, ckpt_path=folder / LAST if resumed else None, weights_only=True)
    finally:
        checkpoints.close()
        freeze_body(module.network, False)
        torch.use_deterministic_algorithms(before)


def _trainer(module: PhaseModule, checkpoints: Checkpoints, hardware: Hardware) -> Trainer:
    """Lightning without what costs time at each step: no bar, no logger, no summary, no rehearsal."""
    config, phase = module.config, module.phase
    # Crops teach cells: the head's bias and gain learn nothing from them.
    ddp = DDPStrategy(process_group_backend=hardware.backend, find_unused_parameters=phase.name == "crops")
    return Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=ddp if hardware.processes > 1 else "auto",
        precision=hardware.precision(config.precision),
        max_epochs=phase.epochs,
        accumulate_grad_batches=phase.accumulate,
        gradient_clip_val=config.clip_norm or None,
        check_val_every_n_epoch=config.validate_every,
        limit_val_batches=0 if phase.name == "crops" else None,
        # An epoch's order depends on the epoch.
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        sync_batchnorm=config.synchronise_norms and hardware.processes > 1,
        deterministic=config.deterministic,
        benchmark=hardware.accelerator == "cuda" and not config.deterministic,
        callbacks=[checkpoints],
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _check(
    network: MapNetwork, training: Source, validation: Source, config: FitConfig, hardware: Hardware
) -> None:
    """Refuse before the first epoch what would fail in a later one."""
    hardware.precision(config.precision)
    if config.synchronise_norms and hardware.accelerator == "cpu":
        raise ValueError("synchronise_norms needs GPUs; without them each process normalises its own images")
    if config.uses_places and training.samples.locations_NFGG is None:
        raise ValueError(
            "crop_epochs and location_weight need to know where findings lie, which only phantoms do: set "
            "both to 0"
        )
    if config.uses_places and not isinstance(network.head, MapHead):
        raise ValueError(
            "crop_epochs and location_weight need a head that judges cells; "
            f"{type(network.head).__name__} judges after pooling: set both to 0"
        )
    if config.crop_epochs and (config.crop_pixels % STRIDE or config.crop_pixels > training.size):
        raise ValueError(
            f"crop_pixels is {config.crop_pixels}; expected a multiple of {STRIDE} up to {training.size}"
        )
    for phase in phases_of(config):
        effective = phase.batch * phase.accumulate * hardware.processes
        if len(training.units) < effective:
            raise ValueError(
                f"{len(training.units)} training samples do not fill one step of {effective} ({phase.batch} "
                f"× {phase.accumulate} accumulated × {hardware.processes} processes): lower batch or "
                "accumulate"
            )
    if not len(validation.units):
        raise ValueError("there are no validation samples")


# What Lightning's own code is warned about: by torch, of a class that torch no longer likes.
_ITS_OWN: Final = ("`isinstance\\(treespec, LeafSpec\\)` is deprecated",)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's announcements of devices and of its own services; its other warnings stay."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _ITS_OWN:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        logger.setLevel(level)
