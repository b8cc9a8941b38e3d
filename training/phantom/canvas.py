"""Canvas of a phantom: attenuation at three resolutions, added up once at the end.

Broad things are drawn at a quarter of the native resolution, rib edges and vessels at a half, hairlines and
noise at the native one: that is what makes a 5-megapixel phantom cost a fraction of a second.

Legend: HW native rows and columns, hw a coarser level's; points are native (x, y), float, [P, 2].
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Attenuation = NDArray[np.float32]
Points = NDArray[np.float32]
Cover = NDArray[np.float32]

QUARTER: Final = 4
HALF: Final = 2
NATIVE: Final = 1
# cv2's sub-pixel drawing: coordinates are multiplied by 2**SHIFT.
SHIFT: Final = 3


class Canvas:
    """Attenuation of a radiograph of `rows` × `columns`, in units of one lung-to-soft-tissue step."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.levels: dict[int, Attenuation] = {
            factor: np.zeros(self.shape(factor), np.float32) for factor in (QUARTER, HALF, NATIVE)
        }

    def shape(self, factor: int) -> tuple[int, int]:
        return -(-self.rows // factor), -(-self.columns // factor)

    def add(self, factor: int, amount_hw: Attenuation) -> None:
        self.levels[factor] += amount_hw

    def add_line(
        self, factor: int, points: Points, *, width: float, amount: float, blur: float = 0.0
    ) -> None:
        """A line of `width` native px and `amount` attenuation, then blurred by `blur` native px (sigma)."""
        patch_hw, top, left = self._line_patch(factor, points, width, blur)
        self._add_patch(factor, patch_hw * np.float32(amount), top, left)

    def add_spot(self, x: float, y: float, *, radius: float, amount: float, edge: float) -> None:
        """A disc of `radius` native px whose margin falls from full to nothing over about `edge` px."""
        reach = int(radius + 3 * edge) + 2
        top, left = int(y) - reach, int(x) - reach
        yy, xx = np.mgrid[top : top + 2 * reach + 1, left : left + 2 * reach + 1].astype(np.float32)
        distance = np.hypot(xx - x, yy - y)
        disc = np.clip((radius - distance) / max(edge, 0.5) + 0.5, 0.0, 1.0)
        self._add_patch(NATIVE, (disc * amount).astype(np.float32), top, left)

    def add_blob(self, x: float, y: float, *, sigma: float, amount: float) -> None:
        """A Gaussian of `sigma` native px."""
        reach = int(3.2 * sigma) + 1
        top, left = int(y) - reach, int(x) - reach
        yy, xx = np.mgrid[top : top + 2 * reach + 1, left : left + 2 * reach + 1].astype(np.float32)
        squared = (xx - x) ** 2 + (yy - y) ** 2
        self._add_patch(NATIVE, (amount * np.exp(-squared / (2 * sigma**2))).astype(np.float32), top, left)

    def filled(self, factor: int, points: Points, blur: float = 0.0) -> Cover:
        """Cover [h, w] in 0..1 of the polygon `points`, blurred by `blur` native px (sigma)."""
        mask_hw = np.zeros(self.shape(factor), np.uint8)
        cv2.fillPoly(mask_hw, [_fixed(points, factor)], 255, cv2.LINE_AA, SHIFT)
        return blurred(mask_hw.astype(np.float32) / np.float32(255), blur / factor)

    def flattened(self) -> Attenuation:
        """The sum of all levels at the native resolution [H, W]."""
        half_hw = self.levels[HALF] + _enlarged(self.levels[QUARTER], self.shape(HALF))
        return self.levels[NATIVE] + _enlarged(half_hw, (self.rows, self.columns))

    def _line_patch(
        self, factor: int, points: Points, width: float, blur: float
    ) -> tuple[Attenuation, int, int]:
        margin = int((width + 3 * blur) / factor) + 3
        left, top = np.floor(points.min(0) / factor).astype(int) - margin
        right, bottom = np.ceil(points.max(0) / factor).astype(int) + margin
        patch = np.zeros((bottom - top, right - left), np.uint8)
        local = points - np.array([left, top], np.float32) * factor
        thickness = max(1, round(width / factor))
        cv2.polylines(patch, [_fixed(local, factor)], False, 255, thickness, cv2.LINE_AA, SHIFT)
        # A line thinner than one pixel of this level keeps its integral by being fainter.
        strength = min(1.0, width / factor / thickness) / 255
        return blurred(patch.astype(np.float32) * np.float32(strength), blur / factor), int(top), int(left)

    def _add_patch(self, factor: int, patch_hw: Attenuation, top: int, left: int) -> None:
        level = self.levels[factor]
        rows, columns = level.shape
        y0, x0 = max(0, top), max(0, left)
        y1, x1 = min(rows, top + patch_hw.shape[0]), min(columns, left + patch_hw.shape[1])
        if y0 < y1 and x0 < x1:
            level[y0:y1, x0:x1] += patch_hw[y0 - top : y1 - top, x0 - left : x1 - left]


def blurred(cover_hw: Cover, sigma: float) -> Cover:
    """`cover_hw` under a Gaussian of `sigma` px of its own level; untouched below a fifth of a pixel."""
    if sigma < 0.2:
        return cover_hw
    return cv2.GaussianBlur(cover_hw, (0, 0), sigma).astype(np.float32, copy=False)


def logistic(x_hw: NDArray[np.floating]) -> Cover:
    """1 / (1 + exp(−x)), without overflow for large |x|."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x_hw)), np.float32)


def smooth(points: Points, samples: int = 12) -> Points:
    """A closed Catmull-Rom curve through `points` [P, 2], `samples` per stretch."""
    t = np.linspace(0, 1, samples, endpoint=False, dtype=np.float32)[:, None]
    a, b, c, d = (np.roll(points, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve, np.float32).reshape(-1, 2)


def _fixed(points: Points, factor: int) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.round(points / factor * (1 << SHIFT)).astype(np.int32)
    return fixed.reshape(-1, 1, 2)


def _enlarged(level_hw: Attenuation, shape: tuple[int, int]) -> Attenuation:
    return cv2.resize(level_hw, shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
