"""A Radiograph: one projection image, decoded, its stored values untouched, with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ImageFormat = Literal["dicom", "jpeg", "png"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageAbout:
    """What is known about an image and may leave the service: nothing here names a patient.

    `rows` and `columns` are those of the image as it is shown (after an EXIF rotation).
    `spacing_mm` is (between rows, between columns), None where unknown.
    """

    format: ImageFormat
    rows: int
    columns: int
    photometric_interpretation: str
    bits_stored: int
    transfer_syntax: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    view_position: str | None = None
    spacing_mm: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Radiograph:
    """One projection image.

    Attributes:
        pixels_HW: stored values as decoded, uint8, uint16, int8 or int16; no Modality LUT, no VOI LUT, no
            window, no inversion: those belong to a profile (`profiles.py`).
        about: format, size, identifiers.
        steps: what decoding had to do to reach one grey channel, in order, e.g. "exif-orientation-6".
        warnings: sentences for the user.
    """

    pixels_HW: NDArray[np.integer]
    about: ImageAbout
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def white_is_low(self) -> bool:
        """True for MONOCHROME1: the lowest value is shown white (PS3.3 C.7.6.3.1.2)."""
        return self.about.photometric_interpretation == "MONOCHROME1"
