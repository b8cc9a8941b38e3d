"""Display data of one radiograph: the header that a viewer reads, and the bytes that follow it.

All of it goes back to whoever sent the file, and nowhere else. So it may name the patient, and is neither
logged nor kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from cxrserve.imaging.radiograph import ImageAbout
from cxrserve.schema import Strict
from cxrserve.warnings import ImageWarning

MAX_TABLES = 16
_Short = Annotated[str | None, Field(max_length=200)]


class _Part(Strict, allow_inf_nan=False):
    """Part of the header."""


class Window(_Part):
    """A window of the file, in the modality's units: `stored · slope + intercept`. PS3.3 C.11.2.1.2."""

    label: str | None = Field(None, max_length=64)
    centre: float
    width: float = Field(gt=0)
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"


class Table(_Part):
    """A grey value, 0 to 255, for each stored value from `lowest` to `highest`; it follows the pixels."""

    kind: Literal["file", "network"] = Field(
        description="The file's own VOI LUT, or the grey values that the networks were shown."
    )
    label: str | None = Field(None, max_length=64)


class Person(_Part):
    """The patient, as the file names them. Text of the file: to be shown as text and nothing else."""

    name: _Short = None
    id: _Short = None
    birth_date: _Short = None
    sex: _Short = None


class DisplayHeader(_Part):
    """Header of a display image; its pixels follow: rows × columns of `sample`, little endian, row by row."""

    about: ImageAbout
    sample: Literal["uint8", "uint16"]
    offset: int = Field(description="Stored value = sample + offset.")
    lowest: int = Field(description="Smallest stored value in the image.")
    highest: int = Field(description="Largest stored value in the image.")
    slope: float = 1.0
    intercept: float = 0.0
    white_is_low: bool = Field(description="MONOCHROME1: the lowest value is shown white.")
    aspect: float = Field(1.0, gt=0.01, lt=100, description="Height of a pixel over its width.")
    is_calibrated: bool = Field(
        False,
        description="The spacing in `about` is in the patient; else at the detector, where the patient "
        "appears larger. PS3.3 10.7.1.1.",
    )
    windows: tuple[Window, ...] = Field((), max_length=MAX_TABLES)
    tables: tuple[Table, ...] = Field((), max_length=MAX_TABLES)
    orientation: tuple[str, str] | None = Field(
        None, description="Where rows and columns point to in the patient, e.g. L and F. PS3.3 C.7.6.1.1.1."
    )
    laterality: _Short = None
    patient: Person | None = None
    study_date: _Short = None
    study_description: _Short = None
    warnings: tuple[ImageWarning, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DisplayedImage:
    """A header, and the bytes that it describes: the pixels, then the tables."""

    header: DisplayHeader
    payload: bytes | bytearray | memoryview


def payload_bytes(header: DisplayHeader) -> int:
    """Length of the payload of `header`."""
    pixels = header.about.rows * header.about.columns * (2 if header.sample == "uint16" else 1)
    return pixels + len(header.tables) * (header.highest - header.lowest + 1)


def most_display_bytes(max_pixels: int) -> int:
    """The longest payload that an honest worker sends."""
    return 2 * max_pixels + MAX_TABLES * 2**16
