"""Heatmaps and overlays as pictures. One colour scale for all findings and images; nothing is stretched.

Legend: h and w of the picture, W of the whole sheet.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrserve.ensemble import heatmap
from cxrserve.ensemble.bundle import Contract
from cxrserve.ensemble.pipeline import Reading
from cxrserve.findings import NAMES
from cxrserve.imaging.pyramid import placement, shape_within

Picture = NDArray[np.uint8]

HEATMAP_SIDE: Final = 512  # longest side of a heatmap; the finest grid has 64 cells
OVERLAY_SIDE: Final = 1024  # longest side of the radiograph in an overlay
RESEARCH_USE: Final = "Research use only. Not for diagnosis."

_OPACITY: Final = 0.75  # of the colour at full strength: the radiograph stays visible under it
_COLOURS: Final = cv2.COLORMAP_INFERNO  # perceptually even, and dark where there is nothing
_PAPER: Final = (18, 18, 20)
_INK: Final = (232, 232, 235)
_FAINT: Final = (150, 150, 158)
_MARGIN: Final = 14
_STRIP_HEIGHT: Final = 92
_NARROWEST: Final = 620  # sheet width at which the words below the picture fit


def heatmap_picture(
    reading: Reading, index: int, contract: Contract, shape_hw: tuple[int, int] | None = None
) -> heatmap.Map | None:
    """Finding `index`'s heatmap over the whole radiograph, raw float32 [h, w]; None where none was made.

    Args:
        shape_hw: the picture's height and width; by default the radiograph's aspect, 512 on the long side.
    """
    grid_GG = reading.prediction.maps.get(index)
    if grid_GG is None:
        return None
    about = reading.image.about
    height, width = shape_hw or shape_within(about.rows, about.columns, HEATMAP_SIDE)
    place = placement(about.rows, about.columns, contract.preprocessing.fit)
    return heatmap.lay_over(grid_GG, place, height, width)


def overlay(reading: Reading, index: int, contract: Contract) -> Picture | None:
    """One finding's heatmap over its radiograph, with its numbers and the colour scale below.

    Args:
        reading: made with `preview_side=OVERLAY_SIDE`.
        index: the finding, by its place in `findings.py`.

    Returns:
        uint8 [h, w, 3], RGB; None where no heatmap was asked for.
    """
    preview_hw = reading.image.preview_HW
    if preview_hw is None:
        return None
    height, width = preview_hw.shape
    picture_hw = heatmap_picture(reading, index, contract, (height, width))
    if picture_hw is None:
        return None
    blended = blend(preview_hw, heatmap.to_grey(picture_hw, contract.heatmap_scale))
    sheet = Image.new("RGB", (max(width, _NARROWEST), height + _STRIP_HEIGHT), _PAPER)
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
        fill=_INK,
        font=large,
    )
    side_of = "at or above" if prediction.positive_F[index] else "below"
    model = f"{contract.name} {contract.version}"
    draw.text(
        (_MARGIN, top + 42),
        f"{side_of} its operating point {prediction.thresholds_F[index]:.3f}   ·   {model}",
        fill=_FAINT,
        font=small,
    )
    draw.text((_MARGIN, top + 64), RESEARCH_USE, fill=_INK, font=small)
    _draw_scale(sheet, top, contract.heatmap_scale, small)


def _draw_scale(
    sheet: Image.Image, top: int, full_strength: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    width, height = 200, 14
    left = sheet.width - _MARGIN - width
    ramp = np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))
    bar = blend(np.full_like(ramp, 110), ramp)
    sheet.paste(Image.fromarray(bar), (left, top + 20))
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top + 40), "0", fill=_FAINT, font=font)
    # The colour goes with the square root of the value (`heatmap.to_grey`): half-way stands a quarter.
    draw.text((left + width // 2, top + 40), f"{full_strength / 4:.2g}", fill=_FAINT, font=font, anchor="ma")
    draw.text((left + width, top + 40), f"{full_strength:.3g} +", fill=_FAINT, font=font, anchor="ra")
    draw.text((left + width, top + 62), "evidence (Grad-CAM), nats", fill=_FAINT, font=font, anchor="ra")


def png(picture: Picture) -> bytes:
    """`picture`, uint8 grey [h, w] or RGB [h, w, 3], as PNG; quick compression, for pictures sent once."""
    in_order = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded, buffer = cv2.imencode(".png", in_order, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise MemoryError("the PNG encoder found no memory")
    return buffer.tobytes()
