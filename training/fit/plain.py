"""Fit the network of one size. One plain loop, read from top to bottom.

Legend: B images of a batch, F findings, S side of the image, h and w the grid of the maps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.cache import PyramidCache
from training.fit.calibrate import calibrate_head
from training.fit.crops import load_crops
from training.fit.losses import cell_loss, drift_loss, image_level_loss
from training.networks import MapNetwork
from training.recipes.fitting import FitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What an epoch came to: mean losses over its batches; on crops there is no image loss.

    `seconds` is the wall time since the fit began.
    """

    number: int
    image_loss: float | None
    location_loss: float
    seconds: float


def fit(network: MapNetwork, cache: PyramidCache, size: int, config: FitConfig, seed: int) -> Iterator[Epoch]:
    """Fit `network` in place to the level `size` of `cache`; yields after every epoch.

    First on crops, with the loss on cells: a crop of 256 costs a 64th of an image of 2048, and most hold a
    finding. Then on whole images, with both losses. Mixed precision and channels-last memory: 0.059 s an
    image at 2048 on two cores, 0.256 s without both.
    """
    started = time.monotonic()
    generator = np.random.default_rng([seed, size])
    network.train().to(memory_format=torch.channels_last)
    crop_steps, image_steps = len(cache) // config.crop_batch, len(cache) // config.batch
    crop_descent = Descent(network, config, config.crop_learning_rate, config.crop_epochs * crop_steps)
    for number in range(config.crop_epochs):
        location_sum = 0.0
        for batch in batches(len(cache), config.crop_batch, generator):
            images, places = load_crops(cache, size, batch, config, generator)
            loss = cell_loss(_evidence(network, images), places)
            crop_descent.step(loss)
            location_sum += loss.item()
        yield Epoch(
            number=number,
            image_loss=None,
            location_loss=location_sum / crop_steps,
            seconds=time.monotonic() - started,
        )
    if config.crop_epochs:
        calibrate_head(network, cache, size, config.batch, generator)
    descent = Descent(network, config, config.learning_rate, config.epochs * image_steps)
    for number in range(config.epochs):
        sums = np.zeros(2)
        for batch in batches(len(cache), config.batch, generator):
            images, labels, places = load(cache, size, batch, config, generator)
            evidence = _evidence(network, images)
            image_loss = image_level_loss(network.head.output(evidence).logits, labels)
            location_loss = cell_loss(evidence, places) + drift_loss(evidence, places)
            descent.step(image_loss + config.location_weight * location_loss)
            sums += image_loss.item(), location_loss.item()
        image_mean, location_mean = (sums / image_steps).tolist()
        yield Epoch(
            number=config.crop_epochs + number,
            image_loss=image_mean,
            location_loss=location_mean,
            seconds=time.monotonic() - started,
        )


class Descent:
    """AdamW under one cycle of its learning rate, over `steps` steps that begin and end slowly."""

    def __init__(self, network: MapNetwork, config: FitConfig, peak: float, steps: int) -> None:
        self._parameters = list(network.parameters())
        self._optimiser = torch.optim.AdamW(self._parameters, peak, weight_decay=config.weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, peak, max(1, steps), pct_start=0.2
        )

    def step(self, loss: Tensor) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, 5.0)
        self._optimiser.step()
        self._schedule.step()


def _evidence(network: MapNetwork, images_B1SS: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return network.evidence(images_B1SS).float()


def batches(count: int, batch: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Indices of one epoch in random order; what does not fill a batch waits for another epoch."""
    order = generator.permutation(count)
    for start in range(0, count - batch + 1, batch):
        # Sorted: neighbours on disk are read together.
        yield np.sort(order[start : start + batch])


def load(
    cache: PyramidCache,
    size: int,
    indices: NDArray[np.int64],
    config: FitConfig,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Augmented images uint8 [B, 1, S, S], labels [B, 14] and places [B, 14, S/32, S/32] of `indices`."""
    images_BSS = np.array(cache.level(size)[indices])
    assert cache.places_NFGG is not None
    places_BFGG = np.array(cache.places_NFGG[indices])
    pixels_a_cell = size // places_BFGG.shape[-1]
    for image_SS, places_FGG in zip(images_BSS, places_BFGG, strict=True):
        if config.augment.flip and generator.random() < 0.5:
            image_SS[:], places_FGG[:] = image_SS[:, ::-1].copy(), places_FGG[..., ::-1].copy()
        if config.augment.shift_cells:
            # By whole cells of the grid of places; what leaves at one edge comes back at the other.
            down, right = generator.integers(-config.augment.shift_cells, config.augment.shift_cells + 1, 2)
            image_SS[:] = np.roll(image_SS, (down * pixels_a_cell, right * pixels_a_cell), (0, 1))
            places_FGG[:] = np.roll(places_FGG, (down, right), (1, 2))
    places = functional.adaptive_max_pool2d(torch.from_numpy(places_BFGG).float(), size // 32)
    return torch.from_numpy(images_BSS)[:, None], torch.from_numpy(cache.labels_NF[indices]), places
