"""The signs of each finding, and their look-alikes in films without it.

Sizes are given at 2048 pixels across the image (`px` turns them into native ones). Every fine sign has a
look-alike of the same integrated contrast, but blurred: at a coarse scale the two are one and the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from training.phantom.canvas import HALF, NATIVE, QUARTER, Cover, Points, blurred, logistic, smooth
from training.phantom.chest import INNER_WALL, RIBS, SIDES
from training.phantom.scene import Scene

# Sigma of a hairline and of the groove that looks like one, px at 2048.
HAIRLINE: Final = 0.75
GROOVE: Final = 3.2
# Amount × sigma: what both take from the image together.
BREAK: Final = 0.2
PLEURAL_LINE: Final = 0.36


def atelectasis(scene: Scene) -> None:
    """Plate-like bands over a raised diaphragm (the raised dome is part of the chest itself)."""
    side = lower_side(scene)
    for _ in range(int(scene.rng.integers(1, 4))):
        u, v = scene.point_in_lung(side, scene.rng.uniform(0.55, 0.78))
        points = _stroke(
            scene, u, v, length=scene.rng.uniform(0.3, 0.5), angle=scene.rng.uniform(-0.35, 0.35)
        )
        scene.canvas.add_line(
            HALF,
            points,
            width=scene.rng.uniform(9, 16) * scene.chest.px,
            amount=0.22,
            blur=2.5 * scene.chest.px,
        )
        scene.mark_line("Atelectasis", points)


def lower_side(scene: Scene) -> int:
    """The side whose diaphragm stands higher than it should (the right one normally does by 0.03)."""
    right, left = scene.chest.dome
    return -1 if right + 0.03 < left else 1


def cardiomegaly(scene: Scene) -> None:
    """The large heart is drawn with the chest; here its place is recorded."""
    scene.mark_cover("Cardiomegaly", scene.heart)


def enlarged_cardiomediastinum(scene: Scene) -> None:
    """The wide mediastinum is drawn with the chest; here its place is recorded."""
    scene.mark_cover("Enlarged Cardiomediastinum", scene.mediastinum * (scene.v < 0.55) * (scene.v > 0.0))


def consolidation(scene: Scene) -> None:
    """A homogeneous opacity with one sharp border (a fissure) and an air bronchogram."""
    side, v0 = scene.side(), scene.rng.uniform(0.3, 0.65)
    u0, _ = scene.point_in_lung(side, v0)
    tall, wide = scene.rng.uniform(0.09, 0.17), scene.rng.uniform(0.18, 0.34)
    distance = np.hypot((scene.u - u0) / wide, (scene.v - v0) / tall)
    fissure = logistic((scene.v - v0 + 0.4 * tall + 0.15 * (scene.u - u0)) * 220)
    cover = scene.lungs[side] * fissure * logistic((1 - distance) * 9)
    scene.canvas.add(QUARTER, cover * np.float32(scene.rng.uniform(0.28, 0.45)))
    scene.hide_vessels(cover * np.float32(0.8))
    for _ in range(int(scene.rng.integers(4, 7))):
        u, v = u0 + scene.rng.normal(0, 0.4) * wide, v0 + scene.rng.uniform(0, 0.5) * tall
        points = _stroke(
            scene, u, v, length=scene.rng.uniform(0.08, 0.16), angle=scene.rng.uniform(-0.8, 0.8)
        )
        width = scene.rng.uniform(4, 7) * scene.chest.px
        scene.canvas.add_line(HALF, points, width=width, amount=-0.2, blur=1.0 * scene.chest.px)
    scene.mark_cover("Consolidation", cover)


def pneumonia(scene: Scene) -> None:
    """Ill-defined patches that run together, grained by acinar nodules."""
    side, v0 = scene.side(), scene.rng.uniform(0.3, 0.75)
    u0, _ = scene.point_in_lung(side, v0)
    patch = np.zeros_like(scene.u)
    for _ in range(int(scene.rng.integers(6, 14))):
        du, dv = scene.rng.normal(0, 0.13), scene.rng.normal(0, 0.08)
        radius = scene.rng.uniform(0.04, 0.1)
        patch += np.exp(-((scene.u - u0 - du) ** 2 + (scene.v - v0 - dv) ** 2) / (2 * radius**2))
    cover = np.clip(patch, 0, 1.4).astype(np.float32) * scene.lungs[side] * (1 - scene.heart)
    grain = blurred(scene.rng.standard_normal(cover.shape, np.float32), 1.4 * scene.chest.px)
    scene.canvas.add(QUARTER, cover * (np.float32(scene.rng.uniform(0.14, 0.24)) + 0.25 * grain))
    scene.mark_cover("Pneumonia", cover * np.float32(0.8))


def edema(scene: Scene) -> None:
    """Haze about both hila, thick peribronchial markings, and Kerley lines at both bases."""
    amount = scene.rng.uniform(0.12, 0.25)
    cover = np.zeros_like(scene.u)
    for side in SIDES:
        haze = np.exp(-(((scene.u - side * 0.3) / 0.32) ** 2) - ((scene.v - 0.5) / 0.28) ** 2)
        cover += (haze * scene.lungs[side]).astype(np.float32)
        for _ in range(int(scene.rng.integers(5, 10))):
            v = scene.rng.uniform(0.68, 0.88)
            u = side * (float(scene.chest.wall(v)) - scene.rng.uniform(0.02, 0.05))
            points = _stroke(scene, u - side * 0.04, v, length=0.08, angle=scene.rng.normal(0, 0.06))
            scene.canvas.add_line(HALF, points, width=3 * scene.chest.px, amount=0.12)
    scene.canvas.add(QUARTER, (cover * amount).astype(np.float32))
    scene.mark_cover("Edema", cover)


def lung_opacity(scene: Scene) -> None:
    """One faint, smooth opacity that fits no other finding."""
    side, v0 = scene.side(), scene.rng.uniform(0.25, 0.7)
    u0, _ = scene.point_in_lung(side, v0)
    radius = scene.rng.uniform(0.08, 0.16)
    blob = np.exp(-((scene.u - u0) ** 2 + ((scene.v - v0) * 1.6) ** 2) / (2 * radius**2)) * scene.lungs[side]
    scene.canvas.add(QUARTER, (blob * scene.rng.uniform(0.2, 0.32)).astype(np.float32))
    scene.mark_cover("Lung Opacity", blob.astype(np.float32))


def pleural_effusion(scene: Scene) -> None:
    """Fluid that fills the costophrenic angle up to a meniscus, higher at the wall."""
    for side in SIDES if scene.rng.random() < 0.3 else (scene.side(),):
        dome = scene.chest.dome[0 if side < 0 else 1]
        level = dome - scene.rng.uniform(-0.05, 0.22)
        from_wall = np.clip((INNER_WALL - side * scene.u) / INNER_WALL, 0, 1)
        surface = level + 0.16 * from_wall**0.6
        cover = scene.lungs[side] * logistic((scene.v - surface) * 90) * (side * scene.u > 0.05)
        scene.canvas.add(QUARTER, cover * np.float32(scene.rng.uniform(0.55, 0.75)))
        scene.hide_vessels(cover)
        scene.mark_cover("Pleural Effusion", cover)


def pleural_other(scene: Scene) -> None:
    """A thin, sharp band along the chest wall, or calcified plaques."""
    side = scene.side()
    if scene.rng.random() < 0.6:
        points = _along_wall(
            scene, side, inset=scene.rng.uniform(0.03, 0.05), length=scene.rng.uniform(0.18, 0.4)
        )
        scene.canvas.add_line(NATIVE, points, width=4 * scene.chest.px, amount=0.2, blur=0.6)
        scene.mark_line("Pleural Other", points)
        return
    u0, v0 = scene.point_in_lung(side, scene.rng.uniform(0.35, 0.7))
    for _ in range(int(scene.rng.integers(14, 26))):
        u, v = u0 + scene.rng.normal(0, 0.045), v0 + scene.rng.normal(0, 0.03)
        x, y = scene.chest.at(u, v)
        radius = scene.rng.uniform(1.5, 3.0) * scene.chest.px
        scene.canvas.add_spot(x, y, radius=radius, amount=0.2, edge=0.8)
        scene.mark_spot("Pleural Other", x, y, 8 * scene.chest.px)


def companion_shadow(scene: Scene) -> None:
    """Look-alike of pleural thickening: the same band, blurred, as fat and muscle show beside the ribs."""
    points = _along_wall(
        scene, scene.side(), inset=scene.rng.uniform(0.03, 0.05), length=scene.rng.uniform(0.18, 0.4)
    )
    px = scene.chest.px
    scene.canvas.add_line(HALF, points, width=4 * px, amount=0.2, blur=6 * px)


def pneumothorax(scene: Scene) -> None:
    """A hair-thin pleural line over the apex and the wall; beyond it no vessels, and a little more black."""
    points, beyond = _detached(scene)
    _draw_pleural_line(scene, points, sigma=HAIRLINE)
    scene.canvas.add(QUARTER, beyond * np.float32(-0.05))
    scene.hide_vessels(beyond)
    scene.mark_line("Pneumothorax", points)


def skin_fold(scene: Scene) -> None:
    """Look-alike of a pneumothorax: the same course and darkness, but broad, and vessels run through."""
    points, beyond = _detached(scene)
    _draw_pleural_line(scene, points, sigma=4.0)
    scene.canvas.add(QUARTER, beyond * np.float32(-0.05))


def _draw_pleural_line(scene: Scene, points: Points, *, sigma: float) -> None:
    px = scene.chest.px
    factor = NATIVE if sigma < 2 else HALF
    scene.canvas.add_line(factor, points, width=1.6 * px, amount=PLEURAL_LINE / 1.6, blur=sigma * px)


def _detached(scene: Scene) -> tuple[Points, Cover]:
    """The course of a detached pleura on one side, and the cover of what lies beyond it."""
    side = scene.side()
    gap, low = scene.rng.uniform(0.09, 0.22), scene.rng.uniform(0.4, 0.75)
    v = np.linspace(0.0, 1.0, 26)
    height = 0.09 + (low - 0.09) * v
    closing = gap * np.sqrt(np.clip(1 - v**2, 0, 1))
    u = side * (scene.chest.wall(height) - closing)
    medial = scene.chest.at(side * np.linspace(0.18, abs(u[0]), 6), np.linspace(0.12, 0.09, 6))
    points = np.concatenate([medial[:-1], scene.chest.at(u, height)])
    outside = scene.chest.at(side * np.array([1.0, 1.0, 0.1]), np.array([low, -0.1, -0.1]))
    cover = scene.canvas.filled(QUARTER, np.concatenate([points, outside])) * scene.lungs[side]
    return points, cover


def fracture(scene: Scene) -> None:
    """Hairline breaks across two to four ribs."""
    for _ in range(int(scene.rng.integers(2, 5))):
        points = _across_rib(scene)
        _draw_break(scene, points, sigma=HAIRLINE)
        x, y = points.mean(0)
        scene.mark_spot("Fracture", float(x), float(y), 16 * scene.chest.px)


def nutrient_groove(scene: Scene) -> None:
    """Look-alike of a fracture: a groove of the same depth in sum, without a sharp edge."""
    _draw_break(scene, _across_rib(scene), sigma=GROOVE)


def _draw_break(scene: Scene, points: Points, *, sigma: float) -> None:
    px = scene.chest.px
    # A line of 1 px blurred by sigma: its integral across is amount × width, whatever the blur.
    scene.canvas.add_line(NATIVE, points, width=px, amount=-BREAK * 2.5, blur=sigma * px)


def _across_rib(scene: Scene) -> Points:
    """A short, slightly oblique line across a random rib."""
    rng, chest = scene.rng, scene.chest
    side = scene.side()
    rib = chest.rib(int(rng.integers(2, RIBS - 1)), side)
    at = int(rng.integers(8, len(rib) - 4))
    along = rib[at + 1] - rib[at]
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    lean = rng.uniform(-0.5, 0.5) * along / np.hypot(*along)
    reach = chest.half_width * 0.036
    ends = np.linspace(-1, 1, 5)[:, None] * (across + lean) * reach
    points: Points = (rib[at] + ends + rng.normal(0, 0.9 * chest.px, (5, 2))).astype(np.float32)
    return points


def lung_lesion(scene: Scene) -> None:
    """Two to four small nodules with a sharp margin."""
    for _ in range(int(scene.rng.integers(2, 5))):
        x, y = scene.chest.at(*scene.point_in_lung(scene.side(), scene.rng.uniform(0.25, 0.75)))
        radius = scene.rng.uniform(9, 20) * scene.chest.px
        scene.canvas.add_spot(x, y, radius=radius, amount=NODULE, edge=2.0 * scene.chest.px)
        scene.mark_spot("Lung Lesion", x, y, radius)


NODULE: Final = 0.2


def nipple_shadow(scene: Scene) -> None:
    """Look-alike of a nodule: a blurred spot of the same sum."""
    x, y = scene.chest.at(*scene.point_in_lung(scene.side(), scene.rng.uniform(0.35, 0.8)))
    radius = scene.rng.uniform(9, 20) * scene.chest.px
    # A Gaussian of sigma 0.75 r and height 0.89 h holds as much as a disc of radius r and height h.
    scene.canvas.add_blob(x, y, sigma=0.75 * radius, amount=0.89 * NODULE)


def support_devices(scene: Scene) -> None:
    """One or two of: a tracheal tube, a central line, a pacemaker with its lead."""
    for draw in scene.rng.choice(
        np.array([_tube, _central_line, _pacemaker]), int(scene.rng.integers(1, 3)), False
    ):
        draw(scene)


def _tube(scene: Scene) -> None:
    v = np.linspace(-0.2, scene.rng.uniform(0.15, 0.26), 8)
    px = scene.chest.px
    for offset in (-0.018, 0.018):
        points = scene.chest.at(np.full_like(v, offset), v)
        scene.canvas.add_line(NATIVE, points, width=3 * px, amount=0.3, blur=0.7)
        scene.mark_line("Support Devices", points)


def _central_line(scene: Scene) -> None:
    side = scene.side()
    corner = np.array(
        [(0.75, -0.02), (0.4, 0.03), (0.14, 0.12), (0.1, 0.3), (0.09, scene.rng.uniform(0.4, 0.55))]
    )
    points = _curve(scene, corner * [side, 1])
    scene.canvas.add_line(NATIVE, points, width=5 * scene.chest.px, amount=0.22, blur=0.8)
    scene.mark_line("Support Devices", points)


def _pacemaker(scene: Scene) -> None:
    side, px = scene.side(), scene.chest.px
    x, y = scene.chest.at(side * scene.rng.uniform(0.5, 0.65), scene.rng.uniform(0.14, 0.22))
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = scene.rng.uniform(65, 90) * px
    box = np.stack([x + radius * np.cos(angle), y + 0.8 * radius * np.sin(angle)], -1).astype(np.float32)
    cover = scene.canvas.filled(QUARTER, box)
    scene.canvas.add(QUARTER, cover * np.float32(1.2))
    scene.mark_cover("Support Devices", cover)
    lead = _curve(
        scene,
        np.array([(side * 0.5, 0.17), (side * 0.3, 0.1), (0.08 * side, 0.2), (-0.02, 0.5), (0.2, 0.78)]),
    )
    scene.canvas.add_line(NATIVE, lead, width=4 * px, amount=0.4, blur=0.7)
    scene.mark_line("Support Devices", lead)


def _curve(scene: Scene, corners: np.ndarray) -> Points:
    """An open smooth curve through chest coordinates [P, 2]."""
    turned = np.concatenate([corners, corners[-2:0:-1]])
    return scene.chest.at(*smooth(turned.astype(np.float32), 10)[: 10 * (len(corners) - 1)].T)


def _stroke(scene: Scene, u: float, v: float, *, length: float, angle: float) -> Points:
    """A slightly bent line of `length` (units of u) about (u, v)."""
    t = np.linspace(-0.5, 0.5, 8)
    bend = scene.rng.normal(0, 0.08)
    du = t * length * np.cos(angle)
    # v is longer than u by the chest's aspect: keep the angle that of the image.
    dv = (t * length * np.sin(angle) + bend * length * (t**2)) * scene.chest.half_width / scene.chest.height
    return scene.chest.at(u + du, v + dv)


def _along_wall(scene: Scene, side: int, *, inset: float, length: float) -> Points:
    start = scene.rng.uniform(0.15, 0.8 - length)
    v = np.linspace(start, start + length, 16)
    return scene.chest.at(side * (scene.chest.wall(v) - inset), v)


SIGNS: Final[dict[str, Callable[[Scene], None]]] = {
    "Atelectasis": atelectasis,
    "Cardiomegaly": cardiomegaly,
    "Consolidation": consolidation,
    "Edema": edema,
    "Enlarged Cardiomediastinum": enlarged_cardiomediastinum,
    "Fracture": fracture,
    "Lung Lesion": lung_lesion,
    "Lung Opacity": lung_opacity,
    "Pleural Effusion": pleural_effusion,
    "Pleural Other": pleural_other,
    "Pneumonia": pneumonia,
    "Pneumothorax": pneumothorax,
    "Support Devices": support_devices,
}

# How often each look-alike is drawn, once or twice, whatever the findings are: it says nothing about them.
LOOK_ALIKES: Final[dict[Callable[[Scene], None], float]] = {
    companion_shadow: 0.5,
    skin_fold: 0.35,
    nutrient_groove: 0.6,
    nipple_shadow: 0.6,
}
