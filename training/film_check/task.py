"""The self-supervised task: a whole, upright picture is cut, distorted, inverted, turned and mirrored.

What was done is the label, so that no annotation is needed. The distortions are strong (domain
randomisation): a network that was trained on drawings alone must recognise radiographs of people.

Legend: S side of a picture, the one that the network works on; N pictures of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from training.film_check.no_chest import no_chest

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rng = np.random.Generator

# Of the pictures, these shares are no chest; of the chests, these are inverted, and cut at a side.
NO_CHEST: Final = 0.2
INVERTED: Final = 0.5
CUT: Final = 0.5
_MIN_CUT: Final = 0.08
_MAX_CUT: Final = 0.45


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One picture with its labels.

    Attributes:
        picture_SS: uint8.
        turn: 0 to 3 quarter turns counter-clockwise; 4 more where it was mirrored before.
        inverted: whether black and white were exchanged.
        cut_4: share that is missing above, at the right, below, at the left of `picture_SS` as it lies.
        chest: False for a picture that shows no chest: then nothing else is known of it.
    """

    picture_SS: Picture
    turn: int
    inverted: bool
    cut_4: Floats
    chest: bool = True


def turned(picture_SS: Picture, turn: int) -> Picture:
    """The picture mirrored if `turn` ≥ 4, then turned by `turn` % 4 quarters counter-clockwise."""
    lying = picture_SS[:, ::-1] if turn >= 4 else picture_SS
    return np.ascontiguousarray(np.rot90(lying, turn % 4))


def turned_sides(cut_4: Floats, turn: int) -> Floats:
    """`cut_4` (above, right, below, left) of the picture after `turned`."""
    lying = cut_4[[0, 3, 2, 1]] if turn >= 4 else cut_4
    return np.roll(lying, -(turn % 4))


def make_example(whole_SS: Picture, rng: Rng) -> Example:
    """An example of a whole, upright picture; the eight orientations are equally frequent."""
    if rng.random() < NO_CHEST:
        other_SS = distort(no_chest(whole_SS, rng), np.zeros(4, np.float32), rng)
        if rng.random() < INVERTED:
            other_SS = 255 - other_SS
        return Example(
            picture_SS=turned(other_SS, int(rng.integers(8))),
            turn=0,
            inverted=False,
            cut_4=np.zeros(4, np.float32),
            chest=False,
        )
    cut_4 = draw_cut(rng) if rng.random() < CUT else np.zeros(4, np.float32)
    picture_SS = distort(whole_SS, cut_4, rng)
    turn = int(rng.integers(8))
    inverted = bool(rng.random() < INVERTED)
    if inverted:
        picture_SS = 255 - picture_SS
    return Example(
        picture_SS=turned(picture_SS, turn),
        turn=turn,
        inverted=inverted,
        cut_4=turned_sides(cut_4, turn),
    )


def draw_cut(rng: Rng) -> Floats:
    """Shares that are missing: mostly at one side, at times at two."""
    cut_4 = np.zeros(4, np.float32)
    for side in rng.permutation(4)[: 1 + int(rng.random() < 0.25)]:
        cut_4[side] = rng.uniform(_MIN_CUT, _MAX_CUT)
    return cut_4


def distort(whole_SS: Picture, cut_4: Floats, rng: Rng) -> Picture:
    """The picture without what `cut_4` takes, in another geometry, tone and texture, with things on it."""
    grey = _tone(whole_SS.astype(np.float32) / np.float32(255), rng)
    grey = _geometry(grey, cut_4, rng)
    if rng.random() < 0.5:
        grey = _texture(grey, rng)
    grey = _things(grey, rng)
    if rng.random() < 0.6:
        grey = _field(grey, rng)
    if rng.random() < 0.5:
        grey = _sharpness(grey, rng)
    if rng.random() < 0.6:
        grey = grey + rng.standard_normal(grey.shape, np.float32) * np.float32(rng.uniform(0, 0.12))
    picture_SS = _to_bytes(grey)
    # A border is in the file before the profile sees it, or shutters are drawn over what it left.
    if rng.random() < 0.2:
        picture_SS = _letterbox(picture_SS, rng)
    picture_SS = _finish(picture_SS, rng)
    if rng.random() < 0.3:
        picture_SS = _shutters(picture_SS, cut_4, rng)
    if rng.random() < 0.3:
        quality = int(rng.integers(15, 90))
        _, data = cv2.imencode(".jpg", picture_SS, [cv2.IMWRITE_JPEG_QUALITY, quality])
        picture_SS = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return picture_SS


def _to_bytes(grey: Floats) -> Picture:
    return (np.clip(grey, 0, 1) * 255).astype(np.uint8)


def _tone(grey: Floats, rng: Rng) -> Floats:
    """A random rising curve over grey: gamma, then a random piecewise linear one."""
    x = np.linspace(0, 1, 256, dtype=np.float32)
    curve = x ** np.float32(np.exp(rng.uniform(-0.9, 0.9)))
    if rng.random() < 0.7:
        steps = rng.gamma(1.0, 1.0, 8) + 0.08
        knots = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
        curve = np.interp(curve, np.linspace(0, 1, 9), knots).astype(np.float32)
    table = curve.astype(np.float32)
    return table[_to_bytes(grey)]


def _geometry(grey: Floats, cut_4: Floats, rng: Rng) -> Floats:
    """One sampling: cut, small turn, shear, zoom of either axis, shift; at times an elastic field."""
    side = grey.shape[0]
    above, right, below, left = (float(share) for share in cut_4)
    # From the unit square of the new picture to that of the old one, about the middle of what is left.
    angle = np.deg2rad(rng.normal(0, 5))
    zoom_x, zoom_y = np.exp(rng.uniform(-0.12, 0.16)), np.exp(rng.uniform(-0.12, 0.16))
    if rng.random() < 0.5:
        aspect = np.exp(rng.uniform(-0.2, 0.2))
        zoom_x, zoom_y = zoom_x * aspect, zoom_y / aspect
    shear = rng.normal(0, 0.05)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, -sin + shear], [sin, cos]]) @ np.diag([zoom_x, zoom_y])
    matrix = matrix @ np.diag([1 - left - right, 1 - above - below])
    middle = np.array([0.5 + (left - right) / 2, 0.5 + (above - below) / 2]) + rng.normal(0, 0.03, 2)
    shift = middle - matrix @ np.array([0.5, 0.5])
    x = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    y = x[:, None]
    across, down = matrix.astype(np.float32), shift.astype(np.float32)
    u: Floats = across[0, 0] * x + (across[0, 1] * y + down[0])
    v: Floats = across[1, 0] * x + (across[1, 1] * y + down[1])
    if rng.random() < 0.5:
        amount = np.float32(rng.uniform(0, 0.03))
        u = u + _smooth_noise(side, int(rng.integers(3, 8)), rng) * amount
        v = v + _smooth_noise(side, int(rng.integers(3, 8)), rng) * amount
    kind = rng.random()
    border_mode = cv2.BORDER_REPLICATE if kind < 0.5 else cv2.BORDER_CONSTANT
    fill = 0.0 if kind < 0.75 else float(rng.random())
    sampled = cv2.remap(
        grey,
        u * np.float32(side) - np.float32(0.5),
        v * np.float32(side) - np.float32(0.5),
        cv2.INTER_LINEAR,
        borderMode=border_mode,
        borderValue=fill,
    )
    return np.asarray(sampled, np.float32)


def _smooth_noise(side: int, cells: int, rng: Rng) -> Floats:
    """Smooth noise of standard deviation about 1, `cells` waves a side."""
    coarse = rng.standard_normal((cells, cells), np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _texture(grey: Floats, rng: Rng) -> Floats:
    """Noise of several sizes, as of ribs, vessels and opacities that no drawing has."""
    side = grey.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        cells = int(np.exp(rng.uniform(np.log(6), np.log(60))))
        grey = grey + _smooth_noise(side, cells, rng) * np.float32(rng.uniform(0, 0.12))
    return grey


def _field(grey: Floats, rng: Rng) -> Floats:
    """Uneven exposure: a smooth factor or summand over the picture."""
    field = _smooth_noise(grey.shape[0], int(rng.integers(2, 5)), rng)
    if rng.random() < 0.5:
        return np.asarray(grey * np.exp(field * np.float32(rng.uniform(0, 0.35))), np.float32)
    return grey + field * np.float32(rng.uniform(0, 0.2))


def _sharpness(grey: Floats, rng: Rng) -> Floats:
    """Blurred, or its edges enhanced as processed radiographs are."""
    if rng.random() < 0.4:
        return np.asarray(cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.3, 1.3)), np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), np.exp(rng.uniform(np.log(0.8), np.log(15))))
    return grey + (grey - soft) * np.float32(rng.uniform(0, 2.0))


def _things(grey: Floats, rng: Rng) -> Floats:
    """Soft opacities and gas, tubes and wires, lead letters, metal."""
    side = grey.shape[0]
    grey = grey.copy()
    for _ in range(int(rng.integers(0, 6))):
        layer = np.zeros((side, side), np.float32)
        centre = (int(rng.integers(side)), int(rng.integers(side)))
        axes = (int(rng.uniform(0.02, 0.3) * side), int(rng.uniform(0.02, 0.3) * side))
        cv2.ellipse(layer, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
        layer[:] = cv2.GaussianBlur(layer, (0, 0), np.exp(rng.uniform(np.log(0.5), np.log(8))))
        grey += layer * np.float32(rng.uniform(-0.35, 0.4))
    for _ in range(int(rng.integers(0, 5))):
        points = rng.uniform(-0.1, 1.1, (4, 2))
        t = np.linspace(0, 1, 24)[:, None]
        curve = (
            (1 - t) ** 3 * points[0]
            + 3 * (1 - t) ** 2 * t * points[1]
            + 3 * (1 - t) * t**2 * points[2]
            + t**3 * points[3]
        )
        layer = np.zeros((side, side), np.float32)
        thickness = int(rng.choice([1, 1, 2, int(rng.integers(3, 20))]))
        path = np.round(curve * side * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(layer, [path], False, 1.0, thickness, cv2.LINE_8, 4)
        amount = rng.uniform(0.05, 0.6) if thickness < 3 else rng.uniform(-0.15, 0.3)
        if thickness >= 3:
            layer[:] = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.5, 2))
        grey += layer * np.float32(amount)
    for _ in range(int(rng.integers(0, 3))):
        _letters(grey, rng)
    return grey


def _letters(grey: Floats, rng: Rng) -> None:
    """A marker or a line of text, mostly near the edges."""
    side = grey.shape[0]
    text = "".join(rng.choice(list("LRAPpadsinstehdMUc0123456789 "), int(rng.integers(1, 9))))
    x, y = rng.uniform(0, 1, 2)
    if rng.random() < 0.8:
        x = x * 0.2 if rng.random() < 0.5 else 0.8 + x * 0.2
    position = (int(x * side) - 4, int(y * side))
    value = float(rng.choice([1.0, 1.0, 1.0, 0.0, rng.random()]))
    font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_PLAIN]))
    mask = np.zeros((side, side), np.uint8)
    cv2.putText(mask, text, position, font, rng.uniform(0.2, 0.5), 255, 1, cv2.LINE_AA)
    cover = mask.astype(np.float32) / 255
    grey += (np.float32(value) - grey) * cover


def _letterbox(picture_SS: Picture, rng: Rng) -> Picture:
    """The whole picture, smaller, between plain borders on two or four sides."""
    side = picture_SS.shape[0]
    margins = rng.uniform(0, 0.28, 4) * np.repeat(rng.random(2) < 0.7, 2)
    if rng.random() < 0.6:
        margins[1], margins[3] = margins[0], margins[2]
    top, bottom, left, right = (int(margin * side) for margin in margins)
    framed = np.full_like(picture_SS, int(rng.choice([0, 0, 255, int(rng.integers(256))])))
    inner = (side - left - right, side - top - bottom)
    framed[top : side - bottom, left : side - right] = cv2.resize(
        picture_SS, inner, interpolation=cv2.INTER_AREA
    )
    return framed


def _shutters(picture_SS: Picture, cut_4: Floats, rng: Rng) -> Picture:
    """Edges covered by one grey; on a side that is cut, none: it would hide the cut."""
    framed = picture_SS.copy()
    side = framed.shape[0]
    value = int(rng.choice([0, 0, 0, 255, int(rng.integers(256))]))
    tilt = rng.normal(0, 0.03) if rng.random() < 0.4 else 0.0
    x = np.linspace(0, 1, side)
    for number in range(4):
        if rng.random() < 0.5 or cut_4[number] > 0:
            continue
        depth = rng.uniform(0, 0.14) + tilt * (x - 0.5)
        mask = x[:, None] < depth[None, :]
        framed[np.rot90(mask, -number)] = value
    return framed


def _finish(picture_SS: Picture, rng: Rng) -> Picture:
    """Grey as a profile leaves it: equalised, locally equalised, stretched, or as it is."""
    kind = rng.random()
    if kind < 0.55:
        return np.asarray(cv2.equalizeHist(picture_SS), np.uint8)
    if kind < 0.7:
        clahe = cv2.createCLAHE(rng.uniform(1, 6), (int(rng.integers(2, 9)),) * 2)
        return np.asarray(clahe.apply(picture_SS), np.uint8)
    if kind < 0.85:
        low, high = np.percentile(picture_SS, [rng.uniform(0, 3), rng.uniform(97, 100)])
        return _to_bytes((picture_SS.astype(np.float32) - np.float32(low)) / max(1.0, float(high - low)))
    return picture_SS
