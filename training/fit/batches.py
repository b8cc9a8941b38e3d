"""Batches of a fit: which images each holds, and reading them.

An epoch's order is a function of seed and epoch. It is dealt out batch by batch: of every step's batches each
process takes its own, so two processes, or one that accumulates two batches, see the very same step.

Legend: U units (images or studies), B of a batch, M images of a batch, F findings, S side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.datasets.samples import Samples
from training.fit.crops import coarser, load_crops
from training.fit.phases import Phase
from training.fit.seeds import numpy_generator
from training.networks.base import STRIDE
from training.recipes.config import SampleUnit
from training.recipes.fitting import FitConfig

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """One process's share of a step.

    Attributes:
        number: of the batch in its epoch, over all processes; of validation None.
        rows: which units, int64 [B].
        images: uint8 [M, 1, S, S], or float32 once augmented.
        labels: float32 [B, 14], NaN where masked.
        locations: float [B, 14, G, G], or None.
        unit_of_image: int64 [M], which of the B units each image belongs to.
    """

    number: int | None
    rows: Tensor
    images: Tensor
    labels: Tensor
    locations: Tensor | None
    unit_of_image: Tensor


class Units:
    """The units of some samples: each image for itself, or the first images of each study."""

    def __init__(self, samples: Samples, config: SampleUnit) -> None:
        self._most = config.max_views
        if config.kind == "images":
            self._order_N = np.arange(len(samples), dtype=np.int64)
            self._starts = np.arange(len(samples) + 1)
        else:
            self._order_N = np.argsort(samples.study_N, kind="stable")
            _, counts = np.unique(samples.study_N, return_counts=True)
            self._starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def images(self, units_B: Rows) -> tuple[Rows, Rows]:
        """Rows of the images of those units, [M], and the position in `units_B` that each belongs to."""
        chosen = [
            self._order_N[self._starts[unit] : min(self._starts[unit + 1], self._starts[unit] + self._most)]
            for unit in units_B
        ]
        owner_M = np.repeat(np.arange(len(chosen)), [len(rows) for rows in chosen])
        return np.concatenate(chosen), owner_M


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Samples as one fit reads them: at one size, in units."""

    samples: Samples
    units: Units
    size: int

    def batch(self, units_B: Rows, number: int | None, *, with_locations: bool) -> Batch:
        rows_M, owner_M = self.units.images(units_B)
        images = torch.from_numpy(np.array(self.samples.level(self.size)[rows_M]))[:, None]
        # All images of a study carry the study's labels.
        first_M = np.flatnonzero(np.diff(owner_M, prepend=-1))
        rows_B = rows_M[first_M]
        stored = self.samples.locations_NFGG if with_locations else None
        return Batch(
            number=number,
            rows=torch.from_numpy(units_B),
            images=images,
            labels=torch.from_numpy(self.samples.labels_NF[rows_B]),
            locations=None if stored is None else torch.from_numpy(np.array(stored[rows_B])),
            unit_of_image=torch.from_numpy(owner_M),
        )

    def labels(self) -> Tensor:
        """float32 [U, 14]."""
        units = np.arange(len(self.units))
        rows, unit_of_image = self.units.images(units)
        return torch.from_numpy(
            self.samples.labels_NF[rows[np.flatnonzero(np.diff(unit_of_image, prepend=-1))]]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingBatches:
    """One epoch of training as one process sees it.

    Attributes:
        where: seed and size, what randomness is seeded by beside phase and epoch.
    """

    source: Source
    config: FitConfig
    phase: Phase
    epoch: int
    where: tuple[int, int]
    process: int
    processes: int

    @property
    def steps(self) -> int:
        """Steps of the optimiser; what does not fill an effective batch waits for another epoch."""
        return len(self.source.units) // (self.phase.batch * self.phase.accumulate * self.processes)

    def __len__(self) -> int:
        return self.steps * self.phase.accumulate

    def __iter__(self) -> Iterator[Batch]:
        phase = self.phase
        order_U = numpy_generator(*self.where, phase.number, self.epoch).permutation(len(self.source.units))
        for turn in range(len(self)):
            number = turn * self.processes + self.process
            # Sorted: neighbours on disk are read together.
            units_B = np.sort(order_U[number * phase.batch : (number + 1) * phase.batch])
            yield self._load(units_B, number)

    def _load(self, units_B: Rows, number: int) -> Batch:
        source, config = self.source, self.config
        if self.phase.name != "crops":
            return source.batch(units_B, number, with_locations=config.location_weight > 0)
        generator = numpy_generator(*self.where, self.phase.number, self.epoch, number)
        rows_M, owner_M = source.units.images(units_B)
        images, locations = load_crops(source.samples, source.size, rows_M, config, generator)
        labels = torch.from_numpy(source.samples.labels_NF[rows_M])
        return Batch(number, torch.from_numpy(units_B), images, labels, locations, torch.from_numpy(owner_M))


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationBatches:
    """Every unit, as it is; process p of P takes every P-th.

    A few come twice, so that all processes take as many: one that computes less would leave the others
    waiting.
    """

    source: Source
    batch: int
    process: int
    processes: int

    @property
    def _own(self) -> int:
        return -(-len(self.source.units) // self.processes)

    def __len__(self) -> int:
        return -(-self._own // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        own = (self.process + self.processes * np.arange(self._own)) % len(self.source.units)
        for start in range(0, len(own), self.batch):
            yield self.source.batch(own[start : start + self.batch], None, with_locations=False)


def places_on_maps(batch: Batch, size: int) -> Tensor | None:
    """The places of a batch on the grid of the maps."""
    if batch.locations is None:
        return None
    return coarser(batch.locations, size // STRIDE)
