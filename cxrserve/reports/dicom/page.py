"""The overlay page: small radiographs with their evidence, and the table of probabilities beside them.

Every word is ours: nothing of the patient is drawn, since burnt-in text cannot be taken out again.
"""

from __future__ import annotations

import math
import textwrap
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxrserve.ensemble import heatmap
from cxrserve.ensemble.bundle import Bundle
from cxrserve.ensemble.pipeline import Reading
from cxrserve.findings import NAMES
from cxrserve.imaging.pyramid import resize
from cxrserve.reports.dicom.identity import plain
from cxrserve.reports.pictures import (
    FAINT,
    INK,
    PAPER,
    Picture,
    blend,
    draw_scale,
    heatmap_picture,
)

WIDTH: Final = 1440
HEIGHT: Final = 1000
WARNING: Final = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"
_ACCENT: Final = (255, 184, 77)
_TRACK: Final = (48, 48, 54)
_MARGIN: Final = 24
_HEAD: Final = 76
_TABLE: Final = 452  # width of the right column
_GAP: Final = 16
_CAPTION: Final = 30
_ROW: Final = 42
_BAR: Final = 8
_LINE: Final = 17  # of the notes
_CHARACTERS: Final = 66  # in one of their lines

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def page(reading: Reading, bundle: Bundle) -> Picture:
    """The page of one radiograph, uint8 [1000, 1440, 3], RGB.

    Args:
        reading: made with a preview, and with maps of the findings that are to be shown.

    Raises:
        ValueError: it has no preview.
    """
    preview_HW = reading.image.preview_HW
    if preview_HW is None:
        raise ValueError("the reading has no preview; read the image with preview_side above 0")
    sheet = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    _write_head(sheet, bundle)
    shown = [int(index) for index in np.flatnonzero(reading.prediction.positive_F)]
    if len(shown) > 1:  # beside findings, evidence for none says nothing
        shown = [index for index in shown if NAMES[index] != "No Finding"]
    shown.sort(key=lambda index: -reading.prediction.probabilities_F[index])
    _paste_panels(sheet, shown, preview_HW, reading, bundle)
    below = _write_table(sheet, reading)
    _write_legend(sheet, below, reading, bundle)
    return np.asarray(sheet)


def _font(size: int) -> _Font:
    return ImageFont.load_default(size)


def _write_head(sheet: Image.Image, bundle: Bundle) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 14), "Chest radiograph: findings by neural networks", fill=INK, font=_font(26))
    model = f"{bundle.contract.name} {bundle.contract.version}   bundle {bundle.sha256[:12]}"
    draw.text((_MARGIN, 48), plain(model), fill=FAINT, font=_font(15))
    draw.text((WIDTH - _MARGIN, 14), WARNING, fill=_ACCENT, font=_font(20), anchor="ra")
    draw.text((WIDTH - _MARGIN, 48), "not reviewed by a physician", fill=FAINT, font=_font(15), anchor="ra")
    draw.line((_MARGIN, _HEAD - 4, WIDTH - _MARGIN, _HEAD - 4), fill=_TRACK, width=1)


def _paste_panels(
    sheet: Image.Image, shown: list[int], preview_HW: Picture, reading: Reading, bundle: Bundle
) -> None:
    """A grid of equal panels, as large as they can be; the radiograph alone where nothing is positive."""
    left, top = _MARGIN, _HEAD + 8
    width, height = WIDTH - _TABLE - 2 * _MARGIN - _GAP, HEIGHT - top - _MARGIN
    count = max(1, len(shown))
    across, panel_h, panel_w = _grid(count, width, height, preview_HW.shape[0] / preview_HW.shape[1])
    small_hw = resize(preview_HW, panel_h, panel_w, "area")
    down = math.ceil(count / across)
    step_x, step_y = width / across, panel_h + _CAPTION + _GAP
    top += round((height - down * step_y) / 2)  # the block in the middle
    for place in range(count):
        row, column = divmod(place, across)
        x = round(left + column * step_x + (step_x - panel_w) / 2)
        y = top + row * step_y
        picture, words, ink = _panel(shown[place] if shown else None, small_hw, reading, bundle)
        sheet.paste(Image.fromarray(picture), (x, y + _CAPTION))
        draw = ImageDraw.Draw(sheet)
        draw.text((x, y + _CAPTION - 6), words, fill=ink, font=_fitting(draw, words, panel_w), anchor="ls")


def _fitting(draw: ImageDraw.ImageDraw, words: str, width: int) -> _Font:
    """The largest font in which `words` fit into `width`."""
    return next(
        (_font(size) for size in (19, 17, 15, 13) if draw.textlength(words, _font(size)) <= width), _font(11)
    )


def _grid(count: int, width: int, height: int, aspect: float) -> tuple[int, int, int]:
    """Columns, panel height and panel width that leave the least room unused; `aspect` is height / width."""

    def panel_width(across: int) -> float:
        down = math.ceil(count / across)
        return min(width / across - _GAP, (height / down - _GAP - _CAPTION) / aspect)

    across = max(range(1, count + 1), key=panel_width)
    best = max(1.0, panel_width(across))
    return across, max(1, int(best * aspect)), int(best)


def _panel(
    index: int | None, small_hw: Picture, reading: Reading, bundle: Bundle
) -> tuple[Picture, str, tuple[int, int, int]]:
    if index is None:
        return np.repeat(small_hw[..., None], 3, axis=2), "No finding at or above its operating point", INK
    words = f"{NAMES[index]}  {reading.prediction.probabilities_F[index]:.3f}"
    height, width = small_hw.shape
    picture_hw = heatmap_picture(reading, index, bundle.contract, (height, width))
    if picture_hw is None:
        return np.repeat(small_hw[..., None], 3, axis=2), f"{words}  (no heatmap)", _ACCENT
    return blend(small_hw, heatmap.to_grey(picture_hw, bundle.contract.heatmap_scale)), words, _ACCENT


def _write_table(sheet: Image.Image, reading: Reading) -> int:
    """Each finding with a bar, and a tick at its operating point. Returns the first free line below."""
    draw = ImageDraw.Draw(sheet)
    prediction = reading.prediction
    left, right, top = WIDTH - _MARGIN - _TABLE, WIDTH - _MARGIN, _HEAD + 12
    draw.text((left, top), "finding", fill=FAINT, font=_font(14))
    draw.text((right - 110, top), "probability", fill=FAINT, font=_font(14), anchor="ra")
    draw.text((right, top), "operating point", fill=FAINT, font=_font(14), anchor="ra")
    top += 26
    for index, name in enumerate(NAMES):
        probability, threshold = prediction.probabilities_F[index], prediction.thresholds_F[index]
        y = top + index * _ROW
        positive = bool(prediction.positive_F[index])
        ink = _ACCENT if positive else INK
        draw.text((left, y), name, fill=ink, font=_font(18))
        bar = (left, y + 25, right, y + 25 + _BAR)
        draw.rectangle(bar, fill=_TRACK)
        if not math.isfinite(probability):
            draw.text((right, y), "not available", fill=FAINT, font=_font(16), anchor="ra")
            continue
        told = f"{probability:.3f}"
        draw.text((right - 110, y), told, fill=ink, font=_font(18), anchor="ra")
        draw.text((right, y), f"{threshold:.3f}", fill=FAINT, font=_font(16), anchor="ra")
        draw.rectangle((left, y + 25, left + round(probability * _TABLE), y + 25 + _BAR), fill=ink)
        tick = left + round(threshold * _TABLE)
        draw.rectangle((tick - 1, y + 22, tick + 1, y + 28 + _BAR), fill=(255, 255, 255))
    return top + len(NAMES) * _ROW


def _write_legend(sheet: Image.Image, top: int, reading: Reading, bundle: Bundle) -> None:
    draw = ImageDraw.Draw(sheet)
    left, right = WIDTH - _MARGIN - _TABLE, WIDTH - _MARGIN
    top += 8
    draw_scale(sheet, right, top, bundle.contract.heatmap_scale, _font(14))
    draw.rectangle((left, top, left + 22, top + 12), fill=_ACCENT)
    draw.text((left + 30, top - 3), "at or above", fill=FAINT, font=_font(14))
    draw.rectangle((left, top + 22, left + 22, top + 34), fill=INK)
    draw.text((left + 30, top + 19), "below", fill=FAINT, font=_font(14))
    draw.rectangle((left + 10, top + 43, left + 12, top + 59), fill=(255, 255, 255))
    draw.text((left + 30, top + 42), "operating point", fill=FAINT, font=_font(14))
    top += 74
    room = (HEIGHT - _MARGIN - top) // _LINE
    for number, (line, ink) in enumerate(_notes(reading, bundle)[:room]):
        draw.text((left, top + number * _LINE), line, fill=ink, font=_font(13))


def _notes(reading: Reading, bundle: Bundle) -> list[tuple[str, tuple[int, int, int]]]:
    """Lines of text, the most important first: what does not fit on the page stands in the report."""
    contract = bundle.contract
    paragraphs = [
        (contract.intended_use, INK),
        *((warning, _ACCENT) for warning in reading.image.warnings),
        ("Colour shows where the networks found evidence, on one scale for all findings and films.", FAINT),
        (f"Profile {contract.preprocessing.profile}: {', '.join(reading.image.applied)}.", FAINT),
    ]
    return [(line, ink) for words, ink in paragraphs for line in textwrap.wrap(plain(words), _CHARACTERS)[:4]]
