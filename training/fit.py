"""Fit the network of one size. One plain loop, read from top to bottom.

Legend: B images of a batch, F findings, S side of the image, h and w the grid of the maps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxrserve.findings import NAMES
from training.cache import PyramidCache
from training.networks import MapNetwork, Output
from training.recipes import FitConfig


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
    crop_descent = Descent(network, config, config.learning_rate, config.crop_epochs * crop_steps)
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
    descent = Descent(network, config, config.image_learning_rate, config.epochs * image_steps)
    for number in range(config.epochs):
        sums = np.zeros(2)
        for batch in batches(len(cache), config.batch, generator):
            images, labels, places = load(cache, size, batch, config, generator)
            evidence = _evidence(network, images)
            image_loss = image_level_loss(network.head.output(evidence), labels)
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


def image_level_loss(output: Output, labels_BF: Tensor) -> Tensor:
    """Binary cross-entropy of the logits, mean over images and findings."""
    return functional.binary_cross_entropy_with_logits(output.logits, labels_BF)


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
    evidence, places = evidence_BFhw[:, PLACED], places_BFhw[:, PLACED]
    entropy = functional.binary_cross_entropy_with_logits(evidence + CELL_PRIOR, places, reduction="none")
    absent = 1 - places
    present_F = places.sum((0, 2, 3)).clamp(min=1)
    absent_F = absent.sum((0, 2, 3)).clamp(min=1)
    missed_F = (entropy * places).sum((0, 2, 3)) / present_F
    false_F = (entropy * absent).sum((0, 2, 3)) / (present_F * absent_F).sqrt()
    quiet_F = (evidence.square() * absent).sum((0, 2, 3)) / absent_F
    return (missed_F + false_F + QUIET * quiet_F).mean()


# Weight of the drift, and the evidence of a present cell that it is measured against.
DRIFT: Final = 0.1
PRESENT_EVIDENCE: Final = 8.0


def drift_loss(evidence_BFhw: Tensor, places_BFhw: Tensor) -> Tensor:
    """How far the absent cells of an image add up to something, against what a present finding adds.

    Of four thousand cells at 2048 each may be as good as silent, and their sum still drown a hairline's.
    """
    evidence, places = evidence_BFhw[:, PLACED], places_BFhw[:, PLACED]
    cells_BF = places.sum((2, 3))
    typical_F = (cells_BF.sum(0) / (cells_BF > 0).sum(0).clamp(min=1)).clamp(min=1)
    absent_BF = (evidence * (1 - places)).sum((2, 3)) / (PRESENT_EVIDENCE * typical_F)
    # A finding that no image of the batch has tells no typical size.
    seen_F = (cells_BF.sum(0) > 0).float()
    return (
        DRIFT
        * (
            functional.smooth_l1_loss(absent_BF, torch.zeros_like(absent_BF), reduction="none") * seen_F
        ).mean()
    )


@torch.no_grad()
def calibrate_head(
    network: MapNetwork, cache: PyramidCache, size: int, batch: int, generator: np.random.Generator
) -> None:
    """Set the head's gain and bias so that the logits of `CALIBRATED_ON` images start sensible.

    Each finding's mean evidence is brought to a spread of `LOGIT_SPREAD` about the log odds of its
    prevalence. Without it the image loss begins with logits of tens, and undoes what the cells have learnt.
    """
    chosen = np.sort(generator.permutation(len(cache))[:CALIBRATED_ON])
    means = []
    for start in range(0, len(chosen), batch):
        images = torch.from_numpy(np.array(cache.levels[size][chosen[start : start + batch]]))[:, None]
        means.append(_evidence(network, images).mean((2, 3)))
    mean_NF = torch.cat(means)
    prevalence_F = torch.from_numpy(cache.labels_NF.mean(0)).clamp(0.01, 0.99)
    gain_F = LOGIT_SPREAD / mean_NF.std(0).clamp(min=1e-6)
    network.head.log_gain.copy_(gain_F.log())
    network.head.bias.copy_(prevalence_F.logit() - gain_F * mean_NF.mean(0))


CALIBRATED_ON: Final = 128
LOGIT_SPREAD: Final = 1.5


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


def load_crops(
    cache: PyramidCache,
    size: int,
    indices: NDArray[np.int64],
    config: FitConfig,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """One crop of each image, uint8 [B, 1, C, C], and its places [B, 14, C/32, C/32]."""
    cells, side = size // 32, config.crop_pixels // 32
    crops = np.empty((len(indices), 1, config.crop_pixels, config.crop_pixels), np.uint8)
    places = np.empty((len(indices), cache.places_NFGG.shape[1], side, side), np.float32)
    for number, index in enumerate(indices):
        places_Fhw = functional.adaptive_max_pool2d(
            torch.from_numpy(np.array(cache.places_NFGG[index])).float(), cells
        ).numpy()
        top, left = _crop_corner(places_Fhw, side, generator)
        rows, columns = slice(top * 32, (top + side) * 32), slice(left * 32, (left + side) * 32)
        turn = -1 if config.flip and generator.random() < 0.5 else 1
        crops[number, 0] = cache.levels[size][index, rows, columns][:, ::turn]
        places[number] = places_Fhw[:, top : top + side, left : left + side][..., ::turn]
    return torch.from_numpy(crops), torch.from_numpy(places)


# Share of crops laid about a cell of a finding that is there; the others lie anywhere.
AIMED: Final = 0.75


def _crop_corner(
    places_Fhw: NDArray[np.float32], side: int, generator: np.random.Generator
) -> tuple[int, int]:
    """Top and left cell of a crop of `side` cells: anywhere, or so that it holds a random finding's cell."""
    last = places_Fhw.shape[-1] - side
    present = np.flatnonzero(places_Fhw.any((1, 2)))
    if not len(present) or generator.random() > AIMED:
        top, left = generator.integers(0, last + 1, 2)
        return int(top), int(left)
    # Small findings more often: a large one is in most crops anyway.
    chance = places_Fhw[present].sum((1, 2)) ** -0.5
    rows, columns = np.nonzero(places_Fhw[generator.choice(present, p=chance / chance.sum())])
    chosen = generator.integers(len(rows))
    # A cell at the crop's rim has half its surroundings: keep it inside, where there is an inside.
    rim = 1 if side > 2 else 0
    top, left = np.array([rows[chosen], columns[chosen]]) - generator.integers(rim, side - rim, 2)
    return int(np.clip(top, 0, last)), int(np.clip(left, 0, last))
