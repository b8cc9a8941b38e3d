"""Augmentation of a whole batch at once, on the device it lies on.

What is done to each image is drawn first, on the CPU, from a generator: the same generator draws the same
changes on every device. Then one sampling does rotation, zoom, warp and shift together, so that an image is
blurred once at most.

Legend: B images of a batch, S their side, F findings, G side of the grid of places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from training.recipes.fitting import Augmentation


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """Random changes of the images of a batch.

    Attributes:
        flip_B: bool [B].
        shift_B2: float64 [B, 2], rows and columns, shares of the side; whole cells, circular.
        sampling_B33: float32 [B, 3, 3], from places in the new image to places in the old, as (x, y, 1) with
            −1 and 1 at the edges; None if nothing is resampled.
        lighting_B2: float32 [B, 2], factor and summand of the log odds of grey; None where none is lit.
        padding: what is sampled beyond the edges, black or the image's reflection.
    """

    flip_B: Tensor
    shift_B2: Tensor
    sampling_B33: Tensor | None
    lighting_B2: Tensor | None
    padding: Literal["zeros", "reflection"] = "zeros"


# Cells of the grid of places on a side: the unit of `shift_cells`.
CELLS = 64


def draw_changes(config: Augmentation, count: int, generator: torch.Generator) -> Changes:
    """Changes for `count` images as `config` has them, from a generator on the CPU."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator, dtype=torch.float64)

    flip_B = (uniform(0, 1) < 0.5) & config.flip
    limit = config.shift_cells
    shift_B2 = torch.randint(-limit, limit + 1, (count, 2), generator=generator) / CELLS
    sampling, lighting = None, None

    def chosen() -> Tensor:
        """1 for the images that get the next change, else 0."""
        return (uniform(0, 1) < config.share).double()

    if config.geometric:
        radians_B = chosen() * uniform(-1, 1) * math.radians(config.rotation_degrees)
        zoom_B = 1 + chosen() * uniform(0, config.zoom - 1)
        warp_B2 = chosen()[:, None] * uniform(-config.warp, config.warp, 2)
        offset_B2 = chosen()[:, None] * uniform(-2 * config.shift, 2 * config.shift, 2)
        # Zoomed about a random point of the image, which stays where it is.
        centre_B2 = uniform(-1, 1, 2) * (1 - 1 / zoom_B)[:, None]
        zoom_B33 = _zoom(zoom_B, centre_B2 - offset_B2)
        sampling = (_perspective(warp_B2) @ _rotation(radians_B) @ zoom_B33).float()
    if config.lit:
        level_B = 0.5 + chosen() * uniform(-0.5, 0.5) * config.brightness
        log_factor_B = chosen() * uniform(-1, 1) * -math.log(1 - config.contrast)
        lighting = torch.stack([log_factor_B.exp(), level_B.logit()], 1).float()
    return Changes(
        flip_B=flip_B,
        shift_B2=shift_B2,
        sampling_B33=sampling,
        lighting_B2=lighting,
        padding="reflection" if config.border == "reflection" else "zeros",
    )


def change_images(images_B1SS: Tensor, changes: Changes) -> Tensor:
    """The images after their changes: uint8 as they came, or float32 0..255 where sampled or lit."""
    images = _flipped_and_rolled(images_B1SS, changes)
    if changes.sampling_B33 is not None:
        images = _sampled(images.float(), changes.sampling_B33.to(images.device), changes.padding)
    if changes.lighting_B2 is not None:
        images = _lit(images.float(), changes.lighting_B2.to(images.device))
    return images


def change_places(places_BFGG: Tensor, changes: Changes) -> Tensor:
    """Places after the changes that move whole cells; none of the others goes with places."""
    assert changes.sampling_B33 is None
    return _flipped_and_rolled(places_BFGG, changes)


def _flipped_and_rolled(stack: Tensor, changes: Changes) -> Tensor:
    """[B, any, S, S] flipped, then shifted in a circle."""
    flips = changes.flip_B.tolist()
    pixels = (changes.shift_B2 * stack.shape[-1]).round().long().tolist()
    if not any(flips) and not changes.shift_B2.any():
        return stack
    moved = torch.empty_like(stack)
    for number, (image, flip, (down, right)) in enumerate(zip(stack, flips, pixels, strict=True)):
        turned = image.flip(-1) if flip else image
        moved[number] = turned.roll((down, right), (1, 2)) if down or right else turned
    return moved


def _sampled(images_B1SS: Tensor, sampling_B33: Tensor, padding: str) -> Tensor:
    """Bilinear between pixels."""
    side = images_B1SS.shape[-1]
    # Centres of pixels, where −1 and 1 are the edges of the image.
    centre_S = (torch.arange(side, device=images_B1SS.device) * 2 + 1) / side - 1
    x, y = centre_S[None, None, :], centre_S[None, :, None]
    # Written out: a matrix product would be rounded to bfloat16 or TF32 on some devices.
    rows = [
        sampling_B33[:, row, 0, None, None] * x
        + sampling_B33[:, row, 1, None, None] * y
        + sampling_B33[:, row, 2, None, None]
        for row in range(3)
    ]
    grid_BSS2 = torch.stack([rows[0] / rows[2], rows[1] / rows[2]], -1)
    return functional.grid_sample(images_B1SS, grid_BSS2, "bilinear", padding, align_corners=False)


def _lit(images_B1SS: Tensor, lighting_B2: Tensor) -> Tensor:
    factor, summand = (column[:, None, None, None] for column in lighting_B2.T)
    return (images_B1SS / 255).logit(eps=1e-6).mul(factor).add(summand).sigmoid() * 255


def _rotation(radians_B: Tensor) -> Tensor:
    cos, sin, zero = radians_B.cos(), radians_B.sin(), torch.zeros_like(radians_B)
    return _matrices([[cos, -sin, zero], [sin, cos, zero], [zero, zero, zero + 1]])


def _zoom(zoom_B: Tensor, centre_B2: Tensor) -> Tensor:
    zero = torch.zeros_like(zoom_B)
    x, y = centre_B2.T
    return _matrices([[1 / zoom_B, zero, x], [zero, 1 / zoom_B, y], [zero, zero, zero + 1]])


def _matrices(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _perspective(tilt_B2: Tensor) -> Tensor:
    """The projective map that moves the corners as fastai's `Warp` does: [B, 3, 3].

    Tilted by t about one axis, the edges on one side grow by t of the half side and shrink on the other.
    """
    corners = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float64)
    tilt_x, tilt_y = tilt_B2.T[:, :, None]
    u = corners[:, 0] * (1 + tilt_y * corners[:, 1])
    v = corners[:, 1] * (1 + tilt_x * corners[:, 0])
    # u = (ax + by + c)/(gx + hy + 1), v = (dx + ey + f)/(gx + hy + 1): eight equations for a to h.
    x, y = (axis.expand_as(u) for axis in corners.T)
    ones, zeros = torch.ones_like(u), torch.zeros_like(u)
    for_u = torch.stack([x, y, ones, zeros, zeros, zeros, -u * x, -u * y], -1)
    for_v = torch.stack([zeros, zeros, zeros, x, y, ones, -v * x, -v * y], -1)
    solved = torch.linalg.solve(torch.cat([for_u, for_v], 1), torch.cat([u, v], 1))
    return torch.cat([solved, torch.ones_like(solved[:, :1])], 1).view(-1, 3, 3)
