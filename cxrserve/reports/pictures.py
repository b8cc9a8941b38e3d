"""Heatmaps and overlays as pictures, on one colour scale for all images, and for each finding or for all.

Legend: h and w of the picture, W of the whole sheet.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrserve.bundle.contract import Contract, HeatmapCurve
from cxrserve.ensemble import heatmap
from cxrserve.findings import NAMES
from cxrserve.imaging.pyramid import placement, shape_within
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.notices import PICTURE_DISCLAIMER

Picture = NDArray[np.uint8]

HEATMAP_SIDE: Final = 512  # longest side of a heatmap; the finest grid has 64 cells
SCALE_MAP_SIDE: Final = 256  # of one scale's part: four of them come with each heatmap
OVERLAY_SIDE: Final = 1024  # longest side of the radiograph in an overlay

_OPACITY: Final = 0.75  # of the colour at full strength: the radiograph stays visible under it
_COLOURS: Final = cv2.COLORMAP_INFERNO  # perceptually even, and dark where there is nothing
PAPER: Final = (18, 18, 20)
INK: Final = (232, 232, 235)
FAINT: Final = (150, 150, 158)
_MARGIN: Final = 14
_STRIP_HEIGHT: Final = 92
_MIN_WIDTH: Final = 620  # of the sheet: the text below the picture needs it


def heatmap_picture(
    reading: Reading, index: int, contract: Contract, shape_hw: tuple[int, int] | None = None
) -> heatmap.Map | None:
    """Finding `index`'s heatmap over the whole radiograph, raw float32 [h, w]; None where there is none.

    Args:
        shape_hw: the picture's height and width; by default the radiograph's aspect, 512 on the long side.
    """
    about = reading.image.about
    shape_hw = shape_hw or shape_within(about.rows, about.columns, HEATMAP_SIDE)
    return _laid_over(reading.prediction.maps.get(index), reading, contract, shape_hw)


def scale_picture(reading: Reading, index: int, size: int, contract: Contract) -> heatmap.Map | None:
    """The share of scale `size` in finding `index`'s heatmap, raw; None where it was not requested."""
    about = reading.image.about
    shape_hw = shape_within(about.rows, about.columns, SCALE_MAP_SIDE)
    grid_SS = reading.prediction.scale_maps.get(index, {}).get(size)
    return _laid_over(grid_SS, reading, contract, shape_hw)


def _laid_over(
    grid_GG: heatmap.Map | None, reading: Reading, contract: Contract, shape_hw: tuple[int, int]
) -> heatmap.Map | None:
    if grid_GG is None:
        return None
    about = reading.image.about
    position = placement(about.rows, about.columns, contract.preprocessing.fit)
    return heatmap.lay_over(grid_GG, position, *shape_hw)


def overlay(reading: Reading, index: int, contract: Contract) -> Picture | None:
    """One finding's heatmap over its radiograph, with its numbers and the colour scale below.

    Args:
        reading: made with `preview_side=OVERLAY_SIDE`.
        index: the finding, by its index in `findings.NAMES`.

    Returns:
        uint8 [h, w, 3], RGB; None where no heatmap was requested.
    """
    preview_hw = reading.image.preview_HW
    if preview_hw is None:
        return None
    height, width = preview_hw.shape
    picture_hw = heatmap_picture(reading, index, contract, (height, width))
    if picture_hw is None:
        return None
    scale, curve = contract.full_strength(NAMES[index]), contract.heatmap_curve(NAMES[index])
    blended = blend(preview_hw, heatmap.to_grey(picture_hw, scale, curve))
    sheet = Image.new("RGB", (max(width, _MIN_WIDTH), height + _STRIP_HEIGHT), PAPER)
    sheet.paste(Image.fromarray(blended), ((sheet.width - width) // 2, 0))
    _write_strip(sheet, height, index, reading, contract)
    return np.asarray(sheet)


def blend(radiograph_hw: Picture, strength_hw: Picture) -> Picture:
    """Colour over grey, RGB: the stronger the evidence, the less the radiograph shows through."""
    colour = cv2.cvtColor(cv2.applyColorMap(strength_hw, _COLOURS), cv2.COLOR_BGR2RGB)
    alpha = (strength_hw.astype(np.float32) * (_OPACITY / 255))[..., None]
    mixed: Picture = np.rint(radiograph_hw[..., None] * (1 - alpha) + colour * alpha).astype(np.uint8)
    return mixed


def _write_strip(sheet: Image.Image, top: int, index: int, reading: Reading, contract: Contract) -> None:
    prediction = reading.prediction
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(24), ImageFont.load_default(14)
    draw.text(
        (_MARGIN, top + 10),
        f"{NAMES[index]}  {prediction.probabilities_F[index]:.3f}",
        fill=INK,
        font=large,
    )
    side_of = "at or above" if prediction.positive_F[index] else "below"
    model = f"{contract.name} {contract.version}"
    draw.text(
        (_MARGIN, top + 42),
        f"{side_of} its operating point {prediction.thresholds_F[index]:.3f}   ·   {model}",
        fill=FAINT,
        font=small,
    )
    draw.text((_MARGIN, top + 64), PICTURE_DISCLAIMER, fill=INK, font=small)
    name = NAMES[index]
    scale, curve = contract.full_strength(name), contract.heatmap_curve(name)
    draw_scale(sheet, sheet.width - _MARGIN, top + 20, scale, small, curve)


def draw_scale(
    sheet: Image.Image,
    right: int,
    top: int,
    full_strength: float | None,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    curve: HeatmapCurve = "square-root",
) -> None:
    """The colour scale, 200 wide and 56 high, its upper right corner at `right`, `top`.

    Args:
        full_strength: raw value of the last colour; None: each picture has a scale of its own.
        curve: from raw values to colours.
    """
    width, height = 200, 14
    left = right - width
    ramp = np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))
    bar = blend(np.full_like(ramp, 110), ramp)
    sheet.paste(Image.fromarray(bar), (left, top))
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top + 20), "0", fill=FAINT, font=font)
    if full_strength is None:
        draw.text((right, top + 20), "limit of the picture", fill=FAINT, font=font, anchor="ra")
        draw.text((right, top + 42), "evidence (Grad-CAM), nats", fill=FAINT, font=font, anchor="ra")
        return
    # On the square-root curve of `heatmap.to_grey` a quarter of the value stands half-way.
    middle = full_strength / (2 if curve == "linear" else 4)
    draw.text((left + width // 2, top + 20), _figure(middle, 2), fill=FAINT, font=font, anchor="ma")
    draw.text((right, top + 20), f"{_figure(full_strength, 3)} +", fill=FAINT, font=font, anchor="ra")
    draw.text((right, top + 42), "evidence (Grad-CAM), nats", fill=FAINT, font=font, anchor="ra")


def _figure(value: float, digits: int) -> str:
    """`value` with that many significant digits; whole and without an exponent from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.{digits}g}"


def png(picture: Picture) -> bytes:
    """`picture`, uint8 grey [h, w] or RGB [h, w, 3], as PNG; quick compression, for pictures sent once."""
    in_order = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded, buffer = cv2.imencode(".png", in_order, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise MemoryError("the PNG encoder found no memory")
    return buffer.tobytes()
