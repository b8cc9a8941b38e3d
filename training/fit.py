"""Fit the network of one size. One plain loop, read from top to bottom.

Legend: B images of a batch, F findings, S side of the image, h and w the grid of the maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.cache import PyramidCache
from training.networks import MapNetwork, Output
from training.recipes import FitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What an epoch came to: mean losses over its batches."""

    number: int
    image_loss: float
    location_loss: float


def fit(network: MapNetwork, cache: PyramidCache, size: int, config: FitConfig, seed: int) -> Iterator[Epoch]:
    """Fit `network` in place to the level `size` of `cache`; yields after every epoch.

    Mixed precision and channels-last memory: 0.059 s an image at 2048 on two cores, 0.256 s without both.
    """
    generator = np.random.default_rng([seed, size])
    network.train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    steps = config.epochs * (len(cache) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, steps, pct_start=0.2)
    step = 0
    for number in range(config.epochs):
        sums = np.zeros(2)
        for batch in batches(len(cache), config.batch, generator):
            image_B1SS, labels_BF, places_BFhw = load(cache, size, batch, config, generator)
            with torch.autocast("cpu", torch.bfloat16):
                evidence_BFhw = network.evidence(image_B1SS)
            evidence_BFhw = evidence_BFhw.float()
            image_loss = image_level_loss(network.head.output(evidence_BFhw), labels_BF)
            location_loss = cell_loss(evidence_BFhw, places_BFhw)
            optimiser.zero_grad(set_to_none=True)
            (ramp(step, steps) * image_loss + config.location_weight * location_loss).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            step += 1
            sums += image_loss.item(), location_loss.item()
        image_mean, location_mean = sums / (len(cache) // config.batch)
        yield Epoch(number=number, image_loss=image_mean, location_loss=location_mean)


def ramp(step: int, steps: int) -> float:
    """Weight of the image loss: a twentieth for the first third of the steps, then up to one.

    At the start what the background's cells say by chance, times the head's gain, moves the logits by tens:
    the image loss is then all noise, and drowns the loss on cells.
    """
    return float(np.clip((step / steps - 0.33) / 0.33, 0.05, 1.0))


def image_level_loss(output: Output, labels_BF: Tensor) -> Tensor:
    """Binary cross-entropy of the logits, mean over images and findings."""
    return functional.binary_cross_entropy_with_logits(output.logits, labels_BF)


# A cell's log odds before anything is seen in it: findings are small.
CELL_PRIOR: Final = -6.0


def cell_loss(evidence_BFhw: Tensor, places_BFhw: Tensor) -> Tensor:
    """Binary cross-entropy of each cell's evidence, present and absent cells weighing the same in sum.

    A trick of the demo's recipe: phantoms know where their findings lie. It asks one question a cell instead
    of one an image, which makes a thousand phantoms enough, and maps that point at the right place.
    """
    loss_BFhw = functional.binary_cross_entropy_with_logits(evidence_BFhw + CELL_PRIOR, places_BFhw, reduction="none")
    present = places_BFhw.sum((0, 2, 3)).clamp(min=1)
    absent = (1 - places_BFhw).sum((0, 2, 3)).clamp(min=1)
    weight = places_BFhw / present[:, None, None] + (1 - places_BFhw) / absent[:, None, None]
    return (loss_BFhw * weight).sum((0, 2, 3)).mean()


def batches(count: int, batch: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Indices of one epoch in random order; what does not fill a batch waits for another epoch."""
    order = generator.permutation(count)
    for start in range(0, count - batch + 1, batch):
        # Sorted: neighbours on disk are read together.
        yield np.sort(order[start : start + batch])


def load(
    cache: PyramidCache, size: int, indices: NDArray[np.int64], config: FitConfig, generator: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Augmented images uint8 [B, 1, S, S], labels [B, 14] and places [B, 14, S/32, S/32] of `indices`."""
    images_BSS = np.array(cache.levels[size][indices])
    places_BFGG = np.array(cache.places_NFGG[indices])
    pixels_a_cell = size // places_BFGG.shape[-1]
    for image_SS, places_FGG in zip(images_BSS, places_BFGG, strict=True):
        if config.flip and generator.random() < 0.5:
            image_SS[:], places_FGG[:] = image_SS[:, ::-1].copy(), places_FGG[..., ::-1].copy()
        if config.shift_cells:
            # By whole cells of the grid of places; what leaves at one edge comes back at the other.
            down, right = generator.integers(-config.shift_cells, config.shift_cells + 1, 2)
            image_SS[:] = np.roll(image_SS, (down * pixels_a_cell, right * pixels_a_cell), (0, 1))
            places_FGG[:] = np.roll(places_FGG, (down, right), (1, 2))
    places = functional.adaptive_max_pool2d(torch.from_numpy(places_BFGG).float(), size // 32)
    return torch.from_numpy(images_BSS)[:, None], torch.from_numpy(cache.labels_NF[indices]), places


@torch.no_grad()
def validation_logits(network: MapNetwork, cache: PyramidCache, size: int, batch: int) -> NDArray[np.float32]:
    """Logits float32 [N, 14] of every image of `cache`, in evaluation mode and full precision."""
    network.eval()
    parts = []
    for start in range(0, len(cache), batch):
        images = torch.from_numpy(np.array(cache.levels[size][start : start + batch]))[:, None]
        parts.append(network(images).logits.numpy())
    return np.concatenate(parts)
