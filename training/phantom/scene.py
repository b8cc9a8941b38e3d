"""Scene of a phantom: one chest on its canvas, and the location of each finding."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

import training.phantom.chest as anatomy
from cxrserve.findings import INDEX
from training.phantom.canvas import HALF, QUARTER, SHIFT, Canvas, Cover, Points
from training.phantom.chest import Chest

# Places are kept on a grid over the squashed image: a cell is 32 pixels at 2048, a network's stride there.
GRID: Final = 64
# A cell belongs to a finding once this share of it is covered.
CELL_SHARE: Final = 0.1


class Scene:
    """A chest being drawn: `lungs`, `heart`, `mediastinum` are covers at quarter resolution."""

    def __init__(self, chest: Chest, rng: np.random.Generator) -> None:
        self.chest, self.rng = chest, rng
        self.canvas = Canvas(chest.rows, chest.columns)
        self.lungs, self.heart, self.mediastinum = anatomy.draw_body(self.canvas, chest, rng)
        anatomy.draw_bones(self.canvas, chest, rng)
        self.u, self.v = chest.grid(QUARTER)
        self._vessels_hw = anatomy.vessels(self.canvas, chest, rng)
        self._vessels_kept: Cover = np.maximum(self.lungs[-1], self.lungs[1]) * (1 - 0.75 * self.heart)
        self._places: dict[str, NDArray[np.uint8]] = {}

    def side(self) -> int:
        return int(self.rng.choice(anatomy.SIDES))

    def point_in_lung(self, side: int, v: float) -> tuple[float, float]:
        """A random (u, v) at height `v`, clear of the heart's middle and of the wall."""
        wall = float(self.chest.wall(v))
        return side * self.rng.uniform(min(0.3, wall * 0.5), wall * 0.85), v

    def hide_vessels(self, cover_hw: Cover) -> None:
        """No vessels where `cover_hw` (quarter resolution) is 1."""
        self._vessels_kept = self._vessels_kept * (1 - cover_hw)

    def add_vessels(self) -> None:
        """Add the vessels, once every sign has said where there are none."""
        rows, columns = self._vessels_hw.shape
        kept = cv2.resize(self._vessels_kept, (columns, rows), interpolation=cv2.INTER_LINEAR)
        self.canvas.add(HALF, (self._vessels_hw * kept).astype(np.float32))

    def mark_cover(self, finding: str, cover_hw: Cover) -> None:
        """Record that `finding` lies where `cover_hw` (quarter resolution) is above a third."""
        self._place(finding)[cover_hw > 0.33] = 255

    def mark_line(self, finding: str, points: Points) -> None:
        fixed = np.round(points / QUARTER * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(self._place(finding), [fixed], False, 255, 3, cv2.LINE_8, SHIFT)

    def mark_spot(self, finding: str, x: float, y: float, radius: float) -> None:
        centre = (round(x / QUARTER), round(y / QUARTER))
        cv2.circle(self._place(finding), centre, max(4, round(radius / QUARTER)), 255, -1)

    def copy_mark(self, finding: str, parent: str) -> None:
        self._place(parent)[self._place(finding) > 0] = 255

    def places_FGG(self) -> NDArray[np.bool_]:
        """Locations of the findings, bool [14, 64, 64], on a grid over the squashed image."""
        places = np.zeros((len(INDEX), GRID, GRID), np.bool_)
        for finding, place in self._places.items():
            share = cv2.resize(place, (GRID, GRID), interpolation=cv2.INTER_AREA)
            places[INDEX[finding]] = share > 255 * CELL_SHARE
        return places

    def _place(self, finding: str) -> NDArray[np.uint8]:
        return self._places.setdefault(finding, np.zeros(self.canvas.shape(QUARTER), np.uint8))
