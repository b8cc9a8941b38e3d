"""What a DICOM header says of how its image is to be shown, and whose it is.

Modality LUT (PS3.3 C.11.1), VOI LUT and windows (C.11.2), Patient Orientation (C.7.6.1.1.1), the pixels'
aspect. What is not well formed is left out: the pixels are shown all the same.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator

from cxrserve.imaging.border import FOREIGN_ERRORS
from cxrserve.imaging.dicom.cleaning import KEPT, character_set, cleaned
from cxrserve.imaging.dicom.dataset import number, open_data_set, text
from cxrserve.imaging.displayed import MOST_TABLES, Person, Window
from cxrserve.imaging.limits import Limits

_PIXEL_DATA: Final = 0x7FE00010
_LONGEST_VALUE: Final = 2**20  # a table of 65,536 entries of 16 bit has 2**17
_WANTED: Final = {**KEPT, "WindowCenterWidthExplanation": None}
_SEQUENCES: Final = ("ModalityLUTSequence", "VOILUTSequence")
_LETTERS: Final = frozenset("APRLHF")
_OPPOSITE: Final = {"A": "P", "P": "A", "R": "L", "L": "R", "H": "F", "F": "H"}
_MOST_ENTRIES: Final = 2**16


@dataclass(frozen=True, kw_only=True, slots=True)
class Lut:
    """A look-up table of the file, as grey values: `entries` 0 to 255, the first for `first`."""

    label: str | None
    first: int
    entries: NDArray[np.float64]

    def greys(self, lowest: int, highest: int) -> NDArray[np.uint8]:
        """A grey value for each value from `lowest` to `highest`; the ends go on beyond the table."""
        places = np.arange(lowest, highest + 1) - self.first
        chosen: NDArray[np.uint8] = np.rint(self.entries[places.clip(0, len(self.entries) - 1)]).astype(
            np.uint8
        )
        return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Presentation:
    """How to show an image, as far as its file says it."""

    slope: float = 1.0
    intercept: float = 0.0
    windows: tuple[Window, ...] = ()
    tables: tuple[Lut, ...] = ()
    aspect: float = 1.0
    orientation: tuple[str, str] | None = None
    laterality: str | None = None
    patient: Person | None = None
    study_date: str | None = None
    study_description: str | None = None


def read_presentation(data: bytes, limits: Limits) -> Presentation:
    """What the header of the DICOM file `data` says; its pixels have been read already."""
    header = Dataset()
    with suppress(*FOREIGN_ERRORS):
        header = _header(data, limits)
    clean = cleaned(header, _WANTED)
    slope, intercept = _rescale(clean)
    modality = _luts(header, "ModalityLUTSequence", scaled=False)
    return Presentation(
        slope=slope,
        intercept=intercept,
        windows=() if modality else _windows(clean),
        # After a Modality LUT the file's windows act on what it returns: together they are one table.
        tables=tuple(_through(modality[0], window) for window in _windows(clean))
        if modality
        else _luts(header, "VOILUTSequence", scaled=True)
        if (slope, intercept) == (1, 0)
        else (),
        aspect=_aspect(clean),
        orientation=_orientation(clean),
        laterality=_laterality(clean),
        patient=Person(
            name=str(clean.get("PatientName") or "") or None,
            id=text(clean, "PatientID") or None,
            birth_date=text(clean, "PatientBirthDate") or None,
            sex=text(clean, "PatientSex") or None,
        ),
        study_date=text(clean, "StudyDate") or text(clean, "AcquisitionDate") or None,
        study_description=text(clean, "StudyDescription") or None,
    )


def _header(data: bytes, limits: Limits) -> Dataset:
    opened = open_data_set(data, limits)
    stream = BytesIO(opened.data)
    stream.seek(opened.start)
    wanted: list[Any] = [tag_for_keyword(keyword) for keyword in (*_WANTED, *_SEQUENCES)]
    elements = data_element_generator(
        stream,
        opened.implicit,
        opened.little,
        stop_when=lambda tag, vr, length: tag >= _PIXEL_DATA,
        specific_tags=[tag for tag in wanted if tag is not None],
    )
    kept: dict[Any, Any] = {
        element.tag: element
        for element in elements
        if not isinstance(element.value, bytes) or len(element.value) <= _LONGEST_VALUE
    }
    encodings = [default_encoding]
    with suppress(*FOREIGN_ERRORS):
        encodings = list(convert_encodings(list(character_set(Dataset(kept))) or [""]))
    found = Dataset(kept)
    found.set_original_encoding(opened.implicit, opened.little, encodings)
    return found


def _rescale(header: Dataset) -> tuple[float, float]:
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if not slope or not math.isfinite(slope) or intercept is None or not math.isfinite(intercept):
        return 1.0, 0.0
    return slope, intercept


def _windows(header: Dataset) -> tuple[Window, ...]:
    function = text(header, "VOILUTFunction").upper()
    found = []
    for index in range(MOST_TABLES // 2):
        centre, width = number(header, "WindowCenter", index), number(header, "WindowWidth", index)
        if centre is None or width is None or not math.isfinite(centre) or not 0 < width < math.inf:
            break
        if function not in ("LINEAR_EXACT", "SIGMOID") and width < 1:  # C.11.2.1.2.1
            break
        explanations = header.get("WindowCenterWidthExplanation") or ()
        labels = [explanations] if isinstance(explanations, str) else list(explanations)
        found.append(
            Window.model_validate(
                {
                    "label": labels[index][:64] if index < len(labels) and labels[index] else None,
                    "centre": centre,
                    "width": width,
                    "function": function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR",
                }
            )
        )
    return tuple(found)


def _luts(header: Dataset, keyword: str, *, scaled: bool) -> tuple[Lut, ...]:
    found = []
    with suppress(*FOREIGN_ERRORS):
        for item, _ in zip(header.get(keyword) or (), range(MOST_TABLES // 2), strict=False):
            if (lut := _lut(item, scaled)) is not None:
                found.append(lut)
    return tuple(found)


def _lut(item: Dataset, scaled: bool) -> Lut | None:
    """C.11.1.1: the descriptor holds the number of entries (0 means 65,536), the first value, the bits."""
    with suppress(*FOREIGN_ERRORS, IndexError):
        count, first, bits = (int(value) for value in item["LUTDescriptor"].value)
        count = count or _MOST_ENTRIES
        raw = item["LUTData"].value
        values = np.frombuffer(raw, "<u2") if isinstance(raw, bytes) else np.asarray(raw, np.int64)
        values = values.astype(np.float64)[:count]
        if not 1 <= bits <= 16 or len(values) != count or count < 2:
            return None
        full = float(2**bits - 1)
        explanation = item.get("LUTExplanation")
        return Lut(
            label=str(explanation)[:64] if explanation else None,
            first=first,
            entries=(values / full * 255).clip(0, 255) if scaled else values,
        )
    return None


def _through(modality: Lut, window: Window) -> Lut:
    """`window` over what the modality's table returns: grey values for stored ones."""
    x, centre, width = modality.entries, window.centre, window.width
    if window.function == "SIGMOID":
        grey = 255 / (1 + np.exp((-4 * (x - centre) / width).clip(-60, 60)))
    elif window.function == "LINEAR_EXACT":
        grey = ((x - centre) / width + 0.5) * 255
    else:
        grey = ((x - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
    return Lut(label=window.label, first=modality.first, entries=grey.clip(0, 255))


def _aspect(header: Dataset) -> float:
    """Height of a pixel over its width. Spacing where there is one, else the ratio (PS3.3 C.7.6.3.1.7)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        height, width = number(header, keyword, 0), number(header, keyword, 1)
        if height and width and height > 0 and width > 0 and 0.1 < height / width < 10:
            return height / width
    return 1.0


def _orientation(header: Dataset) -> tuple[str, str] | None:
    """Patient Orientation where both directions are made of the letters of PS3.3 C.7.6.1.1.1."""
    value = header.get("PatientOrientation")
    directions = tuple(str(each).upper() for each in value) if value and not isinstance(value, str) else ()
    if len(directions) != 2 or not all(
        0 < len(each) <= 3 and _LETTERS.issuperset(each) for each in directions
    ):
        return None
    across, down = directions
    return None if across[0] in (down[0], _OPPOSITE[down[0]]) else (across, down)


def _laterality(header: Dataset) -> str | None:
    found = text(header, "ImageLaterality") or text(header, "Laterality")
    return found if found in ("L", "R", "U", "B") else None
