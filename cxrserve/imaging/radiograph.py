"""A Radiograph: one projection image, decoded, its stored values untouched, with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.orientation import Orientation, swaps_sides
from cxrserve.warnings import ImageWarning

ImageFormat = Literal["dicom", "jpeg", "png"]
LUT_SHAPE: Final = "presentation-lut-shape"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageAbout:
    """Facts about an image that may leave the service: nothing here names a patient.

    `rows`, `columns` and `spacing_mm` (between rows, between columns; None where unknown) are those of the
    image as it is shown: after a turn by Exif, or by Patient Orientation. `orientation` is the turn from the
    stored DICOM image to the shown one: what is placed over the stored image must be turned back.
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
    orientation: Orientation = 1

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Rows and columns of the image as it is stored in its file."""
        return (self.columns, self.rows) if swaps_sides(self.orientation) else (self.rows, self.columns)


@dataclass(frozen=True, kw_only=True)
class Radiograph:
    """One projection image.

    Attributes:
        pixels_HW: stored values, upright, uint8, uint16, int8 or int16; no Modality LUT, no VOI LUT, no
            window, no inversion: those belong to a profile (`profiles.py`).
        about: format, size, identifiers.
        steps: what decoding had to do to reach one grey channel, in order, e.g. "exif-orientation-6".
        warnings: doubts about the file and its image.
        inversions: elements of the header, besides MONOCHROME1, that each exchange black and white.
    """

    pixels_HW: NDArray[np.integer]
    about: ImageAbout
    steps: tuple[str, ...] = ()
    warnings: tuple[ImageWarning, ...] = ()
    inversions: tuple[str, ...] = ()

    @cached_property
    def extremes(self) -> tuple[int, int]:
        """The lowest and the highest stored value, looked for once."""
        return int(self.pixels_HW.min()), int(self.pixels_HW.max())

    @property
    def white_is_low(self) -> bool:
        """True where a viewer inverts after all tables: MONOCHROME1 (PS3.3 C.7.6.3.1.2), shape INVERSE."""
        return self.about.photometric_interpretation == "MONOCHROME1" or LUT_SHAPE in self.inversions

    @property
    def inverted_by(self) -> tuple[str, ...]:
        """The reasons for which dense is dark in the stored values; () where it is bright."""
        monochrome1 = self.about.photometric_interpretation == "MONOCHROME1"
        reasons = (*(("monochrome1",) if monochrome1 else ()), *self.inversions)
        return reasons if len(reasons) % 2 else ()
