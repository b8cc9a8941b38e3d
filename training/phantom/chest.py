"""The normal chest of a phantom: its proportions, and how they are drawn.

Legend: (u, v) chest coordinates: u from −1 (image left, the patient's right chest wall) to 1, v from 0
(apex) to 1 (costophrenic angles); hw the quarter-resolution level. `side` is −1 or 1 as u's sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from training.phantom.canvas import (
    HALF,
    NATIVE,
    QUARTER,
    Attenuation,
    Canvas,
    Cover,
    Points,
    blurred,
    logistic,
    smooth,
)

RIBS: Final = 9
SIDES: Final = (-1, 1)
INNER_WALL: Final = 0.92


@dataclass(frozen=True, kw_only=True, slots=True)
class Chest:
    """Proportions of one phantom. Lengths in native px, or as shares of the chest where they are ratios.

    Attributes:
        rows, columns: size of the radiograph.
        centre_x, top: where (u, v) = (0, 0) lies.
        half_width, height: px for one unit of u and of v.
        cardiothoracic_ratio: width of the heart over the inner width of the chest.
        mediastinal_half_width: of the upper mediastinum, in units of u.
        dome: v of the right and the left dome of the diaphragm.
        tilt: rotation of the patient, radians.
    """

    rows: int
    columns: int
    centre_x: float
    top: float
    half_width: float
    height: float
    cardiothoracic_ratio: float
    mediastinal_half_width: float
    dome: tuple[float, float]
    tilt: float
    rib_slope: float
    rib_phase: float

    @property
    def px(self) -> float:
        """Native px for a pixel of the image squashed to 2048: what "one pixel at 2048" is here."""
        return (self.rows + self.columns) / 2 / 2048

    def at(self, u: NDArray[np.floating] | float, v: NDArray[np.floating] | float) -> Points:
        """Native (x, y) of chest coordinates, [..., 2]."""
        dx, dy = np.asarray(u) * self.half_width, np.asarray(v) * self.height
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return np.stack([self.centre_x + dx * cos - dy * sin, self.top + dx * sin + dy * cos], -1).astype(
            np.float32
        )

    def grid(self, factor: int) -> tuple[Cover, Cover]:
        """u and v of every pixel of a level, each [h, w]."""
        rows, columns = -(-self.rows // factor), -(-self.columns // factor)
        x = (np.arange(columns, dtype=np.float32) + 0.5) * factor - np.float32(self.centre_x)
        y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * factor - np.float32(self.top)
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        u: Cover = ((x * cos + y * sin) / np.float32(self.half_width)).astype(np.float32, copy=False)
        v: Cover = ((y * cos - x * sin) / np.float32(self.height)).astype(np.float32, copy=False)
        return u, v

    def wall(self, v: NDArray[np.floating] | float) -> NDArray[np.floating]:
        """|u| of the inner chest wall at v."""
        narrowing = 0.6 * (1.0 - np.clip(np.asarray(v, np.float64), 0.0, 1.0)) ** 2.8
        return np.asarray(INNER_WALL * np.clip(1.0 - narrowing, 0.0, 1.0))

    def lung_outline(self, side: int) -> Points:
        """The lung of one side as a closed native outline; the heart is drawn over its medial part."""
        dome = self.dome[0 if side < 0 else 1]
        v = np.linspace(0.06, 1.0, 9)
        lateral = np.stack([self.wall(v), v], -1)
        rest = [
            (0.72, dome + 0.03),
            (0.5, dome),
            (0.28, dome + 0.02),
            (0.1, dome + 0.07),
            (0.1, 0.5),
            (0.1, 0.18),
        ]
        outline = np.concatenate([[(0.22, 0.0)], lateral, rest])
        return smooth(self.at(side * outline[:, 0], outline[:, 1]))

    def rib(self, index: int, side: int, *, anterior: bool = False) -> Points:
        """Centre line of one rib, from the spine outwards (anterior: from the wall inwards), native."""
        t = np.linspace(0, 1, 24)
        start = (index + self.rib_phase) / RIBS * 0.98 - 0.04
        wall = self.wall(start + 0.1) + 0.03
        if anterior:
            u, v = wall - t * (wall - 0.3), start + 0.14 + self.rib_slope * t + 0.03 * t**2
        else:
            u, v = 0.1 + t * (wall - 0.1), start - 0.03 * np.sin(np.pi * t) + self.rib_slope * t**2
        return self.at(side * u, v)


def sample_chest(
    rng: np.random.Generator, *, big_heart: bool, wide_mediastinum: bool, collapsed_side: int = 0
) -> Chest:
    """A chest of random size, habitus and position.

    The heart and the mediastinum are drawn as ratios of the chest, and the chest's share of the image
    varies by a third: neither can be judged without seeing both walls.
    """
    rows, columns = int(rng.integers(2150, 2600)), int(rng.integers(2050, 2400))
    half_width = columns * rng.uniform(0.34, 0.47)
    height = min(half_width * rng.uniform(1.55, 2.05), rows * 0.8)
    domes = [0.86 + rng.uniform(-0.04, 0.03), 0.89 + rng.uniform(-0.04, 0.03)]
    if collapsed_side:
        domes[0 if collapsed_side < 0 else 1] -= rng.uniform(0.06, 0.14)
    return Chest(
        rows=rows,
        columns=columns,
        centre_x=columns * rng.uniform(0.46, 0.54),
        top=(rows - height) * rng.uniform(0.25, 0.55),
        half_width=half_width,
        height=height,
        cardiothoracic_ratio=rng.uniform(0.53, 0.66) if big_heart else rng.uniform(0.39, 0.495),
        mediastinal_half_width=rng.uniform(0.25, 0.34) if wide_mediastinum else rng.uniform(0.14, 0.205),
        dome=(domes[0], domes[1]),
        tilt=rng.normal(0, 0.02),
        rib_slope=rng.uniform(0.1, 0.2),
        rib_phase=rng.uniform(0.0, 1.0),
    )


def lungs(canvas: Canvas, chest: Chest) -> dict[int, Cover]:
    """Cover of each lung at quarter resolution, by side."""
    return {side: canvas.filled(QUARTER, chest.lung_outline(side), blur=6 * chest.px) for side in SIDES}


def heart(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Cover:
    """Cover of the heart at quarter resolution: a third of its width lies to the patient's right."""
    half = chest.cardiothoracic_ratio * INNER_WALL
    u0, v0 = half * rng.uniform(0.26, 0.38), chest.dome[1] - 0.17 + rng.uniform(-0.02, 0.02)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    tall = rng.uniform(0.19, 0.25)
    # An egg whose apex points down and to the patient's left.
    u = u0 + half * np.cos(angle)
    v = v0 + tall * np.sin(angle) + 0.05 * np.cos(angle)
    return canvas.filled(QUARTER, chest.at(u, v), blur=7 * chest.px)


def mediastinum(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Cover:
    """Cover of the mediastinum at quarter resolution, with the aortic knob."""
    width = chest.mediastinal_half_width
    v = np.array([-0.25, 0.05, 0.2, 0.32, 0.5, 0.75, 0.98])
    left = width * np.array([0.6, 0.85, 1.0, 1.12, 0.9, 0.75, 0.5])
    right = width * np.array([0.6, 0.85, 1.0, 0.95, 0.85, 0.75, 0.5]) * rng.uniform(0.85, 1.1)
    u = np.concatenate([left, -right[::-1]])
    return canvas.filled(QUARTER, smooth(chest.at(u, np.concatenate([v, v[::-1]])), 6), blur=9 * chest.px)


def draw_body(
    canvas: Canvas, chest: Chest, rng: np.random.Generator
) -> tuple[dict[int, Cover], Cover, Cover]:
    """Soft tissue, lungs, heart, mediastinum, spine. Returns covers of lungs, heart and mediastinum."""
    u, v = chest.grid(QUARTER)
    shoulder = logistic((v + 0.12) * 14)
    body_half_width = 0.45 + (0.66 + rng.uniform(0.0, 0.12)) * shoulder
    body = logistic((body_half_width - np.abs(u)) * 22)
    thickness = rng.uniform(0.9, 1.3)
    tissue = body * (thickness + 0.25 * np.clip(v, 0, 1.3) + 0.25 * np.exp(-((u / 0.5) ** 2)))
    lung_covers, heart_cover = lungs(canvas, chest), heart(canvas, chest, rng)
    mediastinal_cover = mediastinum(canvas, chest, rng)
    air = np.maximum(lung_covers[-1], lung_covers[1])
    air = air * (1 - np.maximum(heart_cover * 0.86, mediastinal_cover * 0.92))
    canvas.add(QUARTER, (tissue - air * rng.uniform(0.8, 1.0)).astype(np.float32))
    canvas.add(
        QUARTER,
        (0.22 * mediastinal_cover * body * np.clip((1.05 - v) * 4, 0, 1) + 0.12 * heart_cover).astype(
            np.float32
        ),
    )
    vertebrae = 1 + 0.25 * np.sign(np.sin(v * 2 * np.pi * 11 + rng.uniform(0, 6)))
    canvas.add(QUARTER, (0.22 * body * vertebrae * np.exp(-((u / 0.085) ** 4))).astype(np.float32))
    for side in SIDES:
        _draw_breast(canvas, chest, side, rng)
    return lung_covers, heart_cover, mediastinal_cover


def _draw_breast(canvas: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    u, v = chest.grid(QUARTER)
    u0, v0 = side * rng.uniform(0.45, 0.65), rng.uniform(0.72, 0.9)
    radius = rng.uniform(0.25, 0.42)
    amount = rng.uniform(0.0, 0.2)
    distance = np.hypot((u - u0) / radius, (v - v0) / (radius * 0.7))
    canvas.add(QUARTER, amount * logistic((1 - distance) * 12))


def draw_bones(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> None:
    """Ribs with their cortex, and the clavicles."""
    for side in SIDES:
        for index in range(RIBS + 1):
            _draw_bone(canvas, chest.rib(index, side), chest.half_width * 0.058, rng.uniform(0.13, 0.18))
            if index < 7:
                front = chest.rib(index, side, anterior=True)
                _draw_bone(canvas, front, chest.half_width * 0.062, rng.uniform(0.05, 0.08))
        t = np.linspace(0, 1, 12)
        clavicle = chest.at(side * (0.08 + 0.85 * t), 0.1 - 0.1 * t + 0.03 * np.sin(2 * np.pi * t))
        _draw_bone(canvas, clavicle, chest.half_width * 0.065, 0.2)


def _draw_bone(canvas: Canvas, centre: Points, width: float, amount: float) -> None:
    """A band with a brighter rim: the cortex seen edge-on."""
    canvas.add_line(HALF, centre, width=width, amount=amount, blur=1.0)
    canvas.add_line(HALF, centre, width=width * 0.72, amount=-0.4 * amount, blur=1.5)


def vessels(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Attenuation:
    """Branching vessels and the hila, at half resolution [h, w]; the caller masks and adds them."""
    layer = np.zeros(canvas.shape(HALF), np.uint8)
    scale = chest.half_width / HALF
    for side in SIDES:
        root = np.array([side * 0.16, 0.42])
        for _ in range(int(rng.integers(16, 22))):
            direction = rng.uniform(-1.35, 1.35)
            _branch(layer, chest, root + rng.normal(0, 0.02, 2), direction, side, scale * 0.02, rng, depth=0)
    return blurred(layer.astype(np.float32) * np.float32(0.17 / 255), 0.9)


def _branch(
    layer: NDArray[np.uint8],
    chest: Chest,
    start: NDArray[np.floating],
    direction: float,
    side: int,
    width: float,
    rng: np.random.Generator,
    depth: int,
) -> None:
    length = rng.uniform(0.16, 0.3) * 0.8**depth
    bend = rng.normal(0, 0.35)
    t = np.linspace(0, 1, 6)[:, None]
    heading = direction + bend * t
    points = start + t * length * np.concatenate([side * np.cos(heading), 0.6 * np.sin(heading)], 1)
    native = chest.at(points[:, 0], points[:, 1])
    thickness = max(1, round(width))
    grey = int(255 * min(1.0, 0.35 + 0.65 * width / 8))
    fixed = np.round(native / HALF).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(layer, [fixed], False, grey, thickness, cv2.LINE_AA)
    if depth < 3 and abs(points[-1, 0]) < 0.9:
        for turn in (rng.uniform(0.15, 0.6), -rng.uniform(0.15, 0.6)):
            _branch(layer, chest, points[-1], direction + bend + turn, side, width * 0.62, rng, depth + 1)


def draw_marker(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> None:
    """The laterality marker, "L" at the patient's left or "R" at the right, and what it is made of: lead."""
    left = bool(rng.integers(2))
    x = int(canvas.columns * (rng.uniform(0.9, 0.94) if left else rng.uniform(0.03, 0.06)))
    y = int(canvas.rows * rng.uniform(0.06, 0.14))
    patch = np.zeros((canvas.rows, canvas.columns), np.uint8)[: y + 10]
    cv2.putText(
        patch, "L" if left else "R", (x, y), cv2.FONT_HERSHEY_SIMPLEX, 3.2 * chest.px, 255, 9, cv2.LINE_AA
    )
    canvas.levels[NATIVE][: y + 10] += patch.astype(np.float32) * np.float32(1.5 / 255)
