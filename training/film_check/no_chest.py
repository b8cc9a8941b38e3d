"""Pictures that show no chest: scrambled or magnified chests, drawn bodies, patterns and pages.

They are made, not collected: no picture of anything else is needed for training.

Legend: S side of a picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rng = np.random.Generator


def no_chest(chest_SS: Picture, rng: Rng) -> Picture:
    """A picture of no chest, of the size of `chest_SS`; some are made from its pieces."""
    make = (_scrambled, _magnified, _bodies, _bodies, _limbs, _pattern, _page)[int(rng.integers(7))]
    return make(chest_SS, rng)


def _scrambled(chest_SS: Picture, rng: Rng) -> Picture:
    """The chest in tiles that are exchanged and turned."""
    side, tiles = chest_SS.shape[0], int(rng.integers(2, 6))
    step = side // tiles
    pieces = [
        chest_SS[row * step : (row + 1) * step, column * step : (column + 1) * step]
        for row in range(tiles)
        for column in range(tiles)
    ]
    order = rng.permutation(len(pieces))
    turned = [np.rot90(pieces[number], int(rng.integers(4))) for number in order]
    rows = [np.hstack(turned[row * tiles : (row + 1) * tiles]) for row in range(tiles)]
    return _sized(np.vstack(rows), side)


def _magnified(chest_SS: Picture, rng: Rng) -> Picture:
    """A small part of the chest, much enlarged: bones, edges and textures without the whole."""
    side = chest_SS.shape[0]
    height, width = (int(side * rng.uniform(0.12, 0.35)) for _ in range(2))
    top, left = int(rng.integers(side - height)), int(rng.integers(side - width))
    return _sized(chest_SS[top : top + height, left : left + width], side)


def _bodies(chest_SS: Picture, rng: Rng) -> Picture:
    """Rounded bodies in each other, as in slices, heads, hips and breasts; often symmetrical."""
    side = chest_SS.shape[0]
    grey = np.full((side, side), rng.uniform(0, 0.3), np.float32)
    middle, radius = rng.uniform(0.35, 0.65, 2) * side, rng.uniform(0.25, 0.6) * side
    for number in range(int(rng.integers(2, 12))):
        spread = 0 if number == 0 else radius * 0.7
        centre = middle + rng.uniform(-1, 1, 2) * spread
        size = radius if number == 0 else radius * rng.uniform(0.05, 0.7)
        axes = np.maximum(1, size * rng.uniform(0.5, 1.3, 2)).astype(int)
        layer = np.zeros((side, side), np.float32)
        position = (int(centre[0]), int(centre[1]))
        thickness = -1 if rng.random() < 0.7 else int(rng.integers(1, 8))
        cv2.ellipse(
            layer, position, (int(axes[0]), int(axes[1])), rng.uniform(0, 180), 0, 360, 1.0, thickness
        )
        if rng.random() < 0.6:
            layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.5, 4)), np.float32)
        grey += layer * (np.float32(rng.uniform(0, 1)) - grey)
    if rng.random() < 0.5:
        half = side // 2
        grey[:, side - half :] = grey[:, :half][:, ::-1]
    return _bytes(grey)


def _limbs(chest_SS: Picture, rng: Rng) -> Picture:
    """Long soft parts with bones in them, at any angle, as of arms, legs and hands."""
    side = chest_SS.shape[0]
    grey = np.full((side, side), rng.uniform(0, 0.25), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        ends = rng.uniform(-0.2, 1.2, (2, 2)) * side
        first, last = (int(ends[0, 0]), int(ends[0, 1])), (int(ends[1, 0]), int(ends[1, 1]))
        width = rng.uniform(0.08, 0.45) * side
        for share, value in ((1.0, rng.uniform(0.2, 0.5)), (rng.uniform(0.2, 0.6), rng.uniform(0.4, 1))):
            layer = np.zeros((side, side), np.float32)
            cv2.line(layer, first, last, 1.0, max(1, int(width * share)))
            layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.5, 3)), np.float32)
            grey = np.maximum(grey, layer * np.float32(value))
    return _bytes(grey)


def _pattern(chest_SS: Picture, rng: Rng) -> Picture:
    """Noise of all sizes, a gradient, or bars."""
    side = chest_SS.shape[0]
    slope = rng.uniform(-1, 1, 2) * rng.choice([0.0, 0.3, 1.0])
    x = np.linspace(0, 1, side, dtype=np.float32)
    grey = (x * np.float32(slope[0]) + x[:, None] * np.float32(slope[1])).astype(np.float32)
    for cells in (2, 4, 8, 16, 32):
        if rng.random() < 0.7:
            coarse = rng.standard_normal((cells, cells), np.float32)
            smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
            grey += np.asarray(smooth, np.float32) * np.float32(rng.uniform(0, 0.6) / cells**0.5)
    if rng.random() < 0.3:
        waves = np.sin(x * np.float32(rng.uniform(5, 80)) + np.float32(rng.uniform(0, 6)))
        grey += (waves if rng.random() < 0.5 else waves[:, None]) * np.float32(rng.uniform(0.2, 1))
    spread = max(float(grey.max() - grey.min()), 1e-6)
    return _bytes((grey - grey.min()) / np.float32(spread))


def _page(chest_SS: Picture, rng: Rng) -> Picture:
    """Lines of text, with or without a picture between them."""
    side = chest_SS.shape[0]
    page = np.full((side, side), 255, np.uint8)
    alphabet = list("abcdefghilmnoprstuvwx .,-0123456789")
    step = int(rng.integers(6, 16))
    for y in range(step, side, step):
        text = "".join(rng.choice(alphabet, int(rng.integers(5, 40))))
        position = (int(rng.integers(0, 20)), y)
        cv2.putText(page, text, position, cv2.FONT_HERSHEY_SIMPLEX, step / 40, int(rng.integers(0, 90)), 1)
    if rng.random() < 0.3:
        height, width = (int(rng.uniform(0.15, 0.4) * side) for _ in range(2))
        top, left = int(rng.integers(side - height)), int(rng.integers(side - width))
        bodies = _bodies(chest_SS, rng)
        page[top : top + height, left : left + width] = bodies[:height, :width]
    return page


def _sized(picture: NDArray[np.uint8], side: int) -> Picture:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _bytes(grey: Floats) -> Picture:
    return (np.clip(grey, 0, 1) * 255).astype(np.uint8)
