"""Squares cut out of large images, most of them about a finding.

Legend: B images of a batch, F findings, h and w the grid of the maps.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.datasets.samples import Samples
from training.networks.base import STRIDE
from training.recipes.fitting import FitConfig

# Share of crops laid about a cell of a finding that is there; the others lie anywhere.
AIMED: Final = 0.75


def load_crops(
    samples: Samples, size: int, indices: NDArray[np.int64], config: FitConfig, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """One crop of each image, uint8 [B, 1, C, C], and its places [B, 14, C/32, C/32].

    A crop of 256 costs a 64th of an image of 2048.
    """
    all_locations_NFGG = samples.locations_NFGG
    assert all_locations_NFGG is not None
    cells, side = size // STRIDE, config.crop_pixels // STRIDE
    crops = np.empty((len(indices), 1, config.crop_pixels, config.crop_pixels), np.uint8)
    locations = np.empty((len(indices), all_locations_NFGG.shape[1], side, side), np.float32)
    for number, index in enumerate(indices):
        places_Fhw = coarser(torch.from_numpy(np.array(all_locations_NFGG[index])), cells).numpy()
        top, left = _crop_corner(places_Fhw, side, generator)
        bottom, right = top + side, left + side
        turn = -1 if config.augment.flip and generator.random() < 0.5 else 1
        level_NSS = samples.level(size)
        crops[number, 0] = level_NSS[index, top * STRIDE : bottom * STRIDE, left * STRIDE : right * STRIDE][
            :, ::turn
        ]
        locations[number] = places_Fhw[:, top:bottom, left:right][..., ::turn]
    return torch.from_numpy(crops), torch.from_numpy(locations)


def coarser(locations: Tensor, cells: int) -> Tensor:
    """Places on a grid of `cells` a side: a cell holds what any of its parts holds."""
    return functional.adaptive_max_pool2d(locations.float(), cells)


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
