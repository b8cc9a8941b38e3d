"""Display attributes and patient of a DICOM image, read from its header.

Modality LUT (PS3.3 C.11.1), VOI LUT and windows (C.11.2), Patient Orientation (C.7.6.1.1.1), the pixels'
aspect. What is not well formed is left out: the pixels are shown all the same.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator

from cxrserve.imaging.dicom.cleaning import RESULT_ELEMENTS, character_set, cleaned
from cxrserve.imaging.dicom.dataset import number, open_data_set, text, unrepeated
from cxrserve.imaging.dicom.greyscale import Greyscale, read_greyscale
from cxrserve.imaging.display_header import Person
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.orientation import Directions

_PIXEL_DATA: Final = 0x7FE00010
_MAX_VALUE: Final = 2**20  # a table of 65,536 entries of 16 bit has 2**17
_ELEMENTS: Final = {**RESULT_ELEMENTS, "WindowCenterWidthExplanation": None}
_SEQUENCES: Final = ("ModalityLUTSequence", "VOILUTSequence")
_DIRECTIONS: Final = frozenset("APRLHF")
_OPPOSITE: Final = {"A": "P", "P": "A", "R": "L", "L": "R", "H": "F", "F": "H"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Presentation:
    """Display attributes that the file gives for an image."""

    greyscale: Greyscale = field(default_factory=Greyscale)
    aspect: float = 1.0
    is_calibrated: bool = False
    orientation: Directions | None = None
    laterality: str | None = None
    patient: Person | None = None
    study_date: str | None = None
    study_description: str | None = None


def read_presentation(data: bytes, limits: Limits) -> Presentation:
    """Read the display attributes from the header of the DICOM file `data`, whose pixels were read before.

    Raises:
        UnreadableImage: one of them stands there twice with different values.
    """
    header = Dataset()
    with suppress(*FOREIGN_ERRORS):
        header = _header(data, limits)
    clean = cleaned(header, _ELEMENTS)
    _keep_tables(clean, header)
    return Presentation(
        greyscale=read_greyscale(clean),
        aspect=_aspect(clean),
        is_calibrated=_is_calibrated(clean),
        orientation=patient_orientation(clean),
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


def _keep_tables(clean: Dataset, header: Dataset) -> None:
    """All tables of `header`: a cleaned one has but the first of each kind."""
    for keyword in _SEQUENCES:
        with suppress(*FOREIGN_ERRORS):
            if keyword in header:
                clean[keyword] = header[keyword]


def _header(data: bytes, limits: Limits) -> Dataset:
    opened = open_data_set(data, limits)
    stream = BytesIO(opened.data)
    stream.seek(opened.start)
    tags: list[Any] = [tag_for_keyword(keyword) for keyword in (*_ELEMENTS, *_SEQUENCES)]
    elements = data_element_generator(
        stream,
        opened.implicit,
        opened.little,
        stop_when=lambda tag, vr, length: tag >= _PIXEL_DATA,
        specific_tags=[tag for tag in tags if tag is not None],
    )
    short_elements: dict[Any, Any] = {
        tag: element
        for tag, element in unrepeated(elements).items()
        if not isinstance(element.value, bytes) or len(element.value) <= _MAX_VALUE
    }
    encodings = [default_encoding]
    with suppress(*FOREIGN_ERRORS):
        encodings = list(convert_encodings(list(character_set(Dataset(short_elements))) or [""]))
    header = Dataset(short_elements)
    header.set_original_encoding(opened.implicit, opened.little, encodings)
    return header


def _aspect(header: Dataset) -> float:
    """Height of a pixel over its width. Spacing where there is one, else the ratio (PS3.3 C.7.6.3.1.7)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        height, width = number(header, keyword, 0), number(header, keyword, 1)
        if height and width and height > 0 and width > 0 and 0.1 < height / width < 10:
            return height / width
    return 1.0


def _is_calibrated(header: Dataset) -> bool:
    """True where Pixel Spacing differs from that of the detector: it was corrected for the magnification.

    PS3.3 10.7.1.1: equal values, or one of the two alone, are those of the detector.
    """
    pairs = [
        (number(header, "PixelSpacing", index), number(header, "ImagerPixelSpacing", index))
        for index in (0, 1)
    ]
    return all(patient and detector for patient, detector in pairs) and any(
        patient != detector for patient, detector in pairs
    )


def patient_orientation(header: Dataset) -> Directions | None:
    """Patient Orientation where both directions are made of the letters of PS3.3 C.7.6.1.1.1, else None."""
    value = header.get("PatientOrientation")
    directions = (
        tuple(str(direction).upper() for direction in value) if value and not isinstance(value, str) else ()
    )
    if len(directions) != 2 or not all(
        0 < len(direction) <= 3 and _DIRECTIONS.issuperset(direction) for direction in directions
    ):
        return None
    across, down = directions
    return None if across[0] in (down[0], _OPPOSITE[down[0]]) else (across, down)


def _laterality(header: Dataset) -> str | None:
    letter = text(header, "ImageLaterality") or text(header, "Laterality")
    return letter if letter in ("L", "R", "U", "B") else None
