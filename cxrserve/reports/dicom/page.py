"""The overlay page: small radiographs with their evidence, and the table of probabilities beside them.

No patient data are drawn, because burnt-in text cannot be removed.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxrserve.bundle.contract import Bundle, Contract
from cxrserve.ensemble import heatmap
from cxrserve.findings import CLINICAL_ORDER, INDEX, NAMES
from cxrserve.imaging.orientation import shown_point
from cxrserve.imaging.pyramid import resize
from cxrserve.imaging.radiograph import ImageAbout
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.dicom.identity import plain
from cxrserve.reports.dicom.objects import FindingSummary
from cxrserve.reports.notices import PICTURE_WARNING
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
_ACCENT: Final = (255, 184, 77)
_TRACK: Final = (48, 48, 54)
_MARGIN: Final = 24
_HEAD: Final = 76
_TABLE: Final = 452  # width of the right column
_GAP: Final = 16
_CAPTION: Final = 30
_ROW: Final = 42
_BAR: Final = 8
_ROW_HEIGHT: Final = 17  # of the notes
_CHARACTERS: Final = 66  # in one of their lines

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class _Panel(NamedTuple):
    """One picture of the grid; `legend` says what its colours are worth, "" without colours."""

    picture_hw3: Picture
    caption: str
    ink: tuple[int, int, int]
    legend: str


def page(reading: Reading, findings: Sequence[FindingSummary], bundle: Bundle) -> Picture:
    """The page of one radiograph, uint8 [1000, 1440, 3], RGB.

    Args:
        reading: with a preview, and with maps of the findings to show.
        findings: of the same image, for the outlines.

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
    _paste_panels(sheet, shown, preview_HW, reading, findings, bundle)
    below = _write_table(sheet, reading)
    _write_legend(sheet, below, reading, bundle)
    return np.asarray(sheet)


@lru_cache(maxsize=32)
def _font(size: int) -> _Font:
    """Pillow's own font, which keeps the shapes of texts: most of a page's are on every page."""
    font = ImageFont.load_default(size)
    if isinstance(font, ImageFont.FreeTypeFont):
        font.getmask2 = lru_cache(maxsize=512)(font.getmask2)  # type: ignore[method-assign, assignment]
    return font


def _write_head(sheet: Image.Image, bundle: Bundle) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 14), "Chest radiograph: findings by neural networks", fill=INK, font=_font(26))
    model = f"{bundle.contract.name} {bundle.contract.version}   bundle {bundle.sha256[:12]}"
    model += "" if bundle.site is None else f"   {bundle.site}"
    draw.text((_MARGIN, 48), plain(model), fill=FAINT, font=_font(15))
    draw.text((WIDTH - _MARGIN, 14), PICTURE_WARNING, fill=_ACCENT, font=_font(20), anchor="ra")
    draw.text((WIDTH - _MARGIN, 48), "not reviewed by a physician", fill=FAINT, font=_font(15), anchor="ra")
    draw.line((_MARGIN, _HEAD - 4, WIDTH - _MARGIN, _HEAD - 4), fill=_TRACK, width=1)


def _paste_panels(
    sheet: Image.Image,
    shown: list[int],
    preview_HW: Picture,
    reading: Reading,
    findings: Sequence[FindingSummary],
    bundle: Bundle,
) -> None:
    """A grid of equal panels, as large as they can be; the radiograph alone where nothing is positive."""
    draw = ImageDraw.Draw(sheet)
    left, top = _MARGIN, _HEAD + 8
    width, height = WIDTH - _TABLE - 2 * _MARGIN - _GAP, HEIGHT - top - _MARGIN
    count = max(1, len(shown))
    across, panel_h, panel_w = _grid(count, width, height, preview_HW.shape[0] / preview_HW.shape[1])
    small_hw = resize(preview_HW, panel_h, panel_w, "area")
    down = math.ceil(count / across)
    step_x, step_y = width / across, panel_h + _CAPTION + _GAP
    top += round((height - down * step_y) / 2)  # the block in the middle
    indices: list[int] | list[None] = shown or [None]
    panels = [_panel(index, small_hw, reading, bundle) for index in indices]
    font = _fitting(draw, [panel.caption for panel in panels], panel_w)
    for position, panel in enumerate(panels):
        row, column = divmod(position, across)
        x = round(left + column * step_x + (step_x - panel_w) / 2)
        y = top + row * step_y
        sheet.paste(Image.fromarray(panel.picture_hw3), (x, y + _CAPTION))
        draw.text((x, y + _CAPTION - 6), panel.caption, fill=panel.ink, font=font, anchor="ls")
        if shown:
            finding = findings[shown[position]]
            _draw_outlines(draw, finding, reading.image.about, (x, y + _CAPTION), panel_w)
            if panel.legend:
                corner = (x + 4, y + _CAPTION + panel_h - 5)
                draw.rectangle(draw.textbbox(corner, panel.legend, _font(14), anchor="ls"), fill=PAPER)
                draw.text(corner, panel.legend, fill=INK, font=_font(14), anchor="ls")


def _fitting(draw: ImageDraw.ImageDraw, captions: list[str], width: int) -> _Font:
    """The largest font in which all `captions` fit into `width`: one size for all panels."""
    longest = max(captions, key=lambda caption: draw.textlength(caption, _font(19)))
    sizes = (19, 17, 15, 14, 13, 12)
    return next((_font(size) for size in sizes if draw.textlength(longest, _font(size)) <= width), _font(11))


def _draw_outlines(
    draw: ImageDraw.ImageDraw, finding: FindingSummary, about: ImageAbout, at: tuple[int, int], width: int
) -> None:
    """The regions of `finding`, which lie over the stored image, on its upright panel."""
    factor = width / about.columns
    for region in finding.regions:
        points = [
            shown_point(column, row, about.stored_shape, about.orientation) for column, row in region.points
        ]
        draw.line(
            [(at[0] + column * factor, at[1] + row * factor) for column, row in points],
            fill=_ACCENT,
            width=2,
        )


def _grid(count: int, width: int, height: int, aspect: float) -> tuple[int, int, int]:
    """Columns, panel height and panel width that leave the least room unused; `aspect` is height / width."""

    def panel_width(across: int) -> float:
        down = math.ceil(count / across)
        return min(width / across - _GAP, (height / down - _GAP - _CAPTION) / aspect)

    across = max(range(1, count + 1), key=panel_width)
    best = max(1.0, panel_width(across))
    return across, max(1, int(best * aspect)), int(best)


def _panel(index: int | None, small_hw: Picture, reading: Reading, bundle: Bundle) -> _Panel:
    """The panel of one finding, or of the radiograph alone for None.

    Its colours are on the finding's scale, which is one for all images. A bundle without a scale for the
    finding has one for all findings only, on which weaker ones would show no colour at all: there the scale
    ends at the strongest evidence in this image. Only positive findings are shown.
    """
    plain_hw3 = np.repeat(small_hw[..., None], 3, axis=2)
    if index is None:
        return _Panel(plain_hw3, "No finding at or above its operating point", INK, "")
    name = NAMES[index]
    caption = f"{name}  {reading.prediction.probabilities_F[index]:.3f}"
    height, width = small_hw.shape
    picture_hw = heatmap_picture(reading, index, bundle.contract, (height, width))
    if picture_hw is None:
        return _Panel(plain_hw3, f"{caption}  (no heatmap)", _ACCENT, "")
    largest = float(picture_hw.max())
    if largest <= 0:
        return _Panel(plain_hw3, f"{caption}  (no evidence)", _ACCENT, "")
    curve = bundle.contract.heatmap_curve(name)
    own = name in bundle.contract.heatmap_scales
    full_strength = bundle.contract.full_strength(name) if own else largest
    blended_hw3 = blend(small_hw, heatmap.to_grey(picture_hw, full_strength, curve))
    legend = f"colour: 0 to {full_strength:.3g} nats"
    return _Panel(blended_hw3, caption, _ACCENT, f"{legend}, here up to {largest:.3g}" if own else legend)


def _write_table(sheet: Image.Image, reading: Reading) -> int:
    """Each finding with a bar, and a tick at its operating point. Returns the first free line below."""
    draw = ImageDraw.Draw(sheet)
    prediction = reading.prediction
    left, right, top = WIDTH - _MARGIN - _TABLE, WIDTH - _MARGIN, _HEAD + 12
    draw.text((left, top), "finding", fill=FAINT, font=_font(14))
    draw.text((right - 110, top), "probability", fill=FAINT, font=_font(14), anchor="ra")
    draw.text((right, top), "operating point", fill=FAINT, font=_font(14), anchor="ra")
    top += 26
    for row, name in enumerate(CLINICAL_ORDER):
        index = INDEX[name]
        probability, threshold = prediction.probabilities_F[index], prediction.thresholds_F[index]
        y = top + row * _ROW
        positive = bool(prediction.positive_F[index])
        ink = _ACCENT if positive else INK
        draw.text((left, y), name, fill=ink, font=_font(18))
        bar = (left, y + 25, right, y + 25 + _BAR)
        draw.rectangle(bar, fill=_TRACK)
        if not math.isfinite(probability):
            draw.text((right, y), "not available", fill=FAINT, font=_font(16), anchor="ra")
            continue
        draw.text((right - 110, y), f"{probability:.3f}", fill=ink, font=_font(18), anchor="ra")
        draw.text((right, y), f"{threshold:.3f}", fill=FAINT, font=_font(16), anchor="ra")
        draw.rectangle((left, y + 25, left + round(probability * _TABLE), y + 25 + _BAR), fill=ink)
        tick = left + round(threshold * _TABLE)
        draw.rectangle((tick - 1, y + 22, tick + 1, y + 28 + _BAR), fill=(255, 255, 255))
    return top + len(NAMES) * _ROW


def _write_legend(sheet: Image.Image, top: int, reading: Reading, bundle: Bundle) -> None:
    draw = ImageDraw.Draw(sheet)
    left, right = WIDTH - _MARGIN - _TABLE, WIDTH - _MARGIN
    top += 8
    draw_scale(sheet, right, top, None, _font(14))
    draw.rectangle((left, top, left + 22, top + 12), fill=_ACCENT)
    draw.text((left + 30, top - 3), "at or above", fill=FAINT, font=_font(14))
    draw.rectangle((left, top + 22, left + 22, top + 34), fill=INK)
    draw.text((left + 30, top + 19), "below", fill=FAINT, font=_font(14))
    draw.rectangle((left + 10, top + 43, left + 12, top + 59), fill=(255, 255, 255))
    draw.text((left + 30, top + 42), "operating point", fill=FAINT, font=_font(14))
    top += 74
    max_rows = (HEIGHT - _MARGIN - top) // _ROW_HEIGHT
    for number, (row, ink) in enumerate(_notes(reading, bundle)[:max_rows]):
        draw.text((left, top + number * _ROW_HEIGHT), row, fill=ink, font=_font(13))


def _scale_words(contract: Contract) -> str:
    if contract.heatmap_scales:
        return (
            "where the largest value here stands beside it, it is the finding's, one for all images, so that "
            "the strength of one finding can be compared between images."
        )
    return "it is the picture's own; compare places, not strengths."


def _notes(reading: Reading, bundle: Bundle) -> list[tuple[str, tuple[int, int, int]]]:
    """Lines of text, the most important first; the report holds those that do not fit on the page."""
    contract = bundle.contract
    paragraphs = [
        (contract.intended_use, INK),
        *((warning.message, _ACCENT) for warning in reading.image.warnings),
        (
            "Colour and outlines show where the networks found evidence. The limit of each picture's colours "
            f"stands in its corner: {_scale_words(contract)}",
            FAINT,
        ),
        (f"Profile {contract.preprocessing.profile}: {', '.join(reading.image.applied)}.", FAINT),
    ]
    return [
        (row, ink)
        for paragraph, ink in paragraphs
        for row in textwrap.wrap(plain(paragraph), _CHARACTERS)[:4]
    ]
