"""DICOM: bytes to a Radiograph with its stored values untouched.

dataset.py     bytes -> elements, whatever syntax they are written in
acceptance.py  is this a chest radiograph, made to be looked at? (body_part.py: what part does it name?)
header.py      rows, columns, bits: sane, and within the limits?
pixels.py      Pixel Data -> stored values (codecs.py: one function for each compression)
"""

from __future__ import annotations

import math
import re
from typing import Final

from pydicom.dataset import Dataset

from cxrserve.imaging.border import reading
from cxrserve.imaging.dicom.acceptance import check_is_chest_radiograph, view_position
from cxrserve.imaging.dicom.dataset import DicomFile, number, parse, text
from cxrserve.imaging.dicom.header import PixelHeader, check_has_pixels, read_pixel_header
from cxrserve.imaging.dicom.pixels import decode_pixels
from cxrserve.imaging.grey import to_grey
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.radiograph import ImageAbout, Radiograph

_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", re.ASCII)  # PS3.5 9.1
_LONGEST_UID: Final = 64
_SQUARE_WITHIN: Final = 0.01


def read_dicom(data: bytes, limits: Limits) -> Radiograph:
    """The radiograph in a DICOM file: one grey channel of stored values, no LUT and no window applied.

    Raises:
        UnreadableImage, UnsupportedImage, NotAChestRadiograph, NotForPresentation, TooLarge: see `errors`.
    """
    with reading("the DICOM file"):
        file = parse(data, limits)
        if not text(file.dataset, "SOPClassUID"):  # cut off, or never an image: say so first
            check_has_pixels(file.dataset)
        check_is_chest_radiograph(file.dataset)
        header = read_pixel_header(file.dataset, limits)
    with reading("the pixel data"):
        samples, decode_steps = decode_pixels(file, header)
        pixels_HW, grey_steps = to_grey(samples)
    with reading("the DICOM file"):
        return Radiograph(
            pixels_HW=pixels_HW,
            about=_about(file, header),
            steps=decode_steps + grey_steps,
            warnings=(
                *file.warnings,
                *_excess_warning(file.dataset, header),
                *_padding_warning(file.dataset),
                *_aspect_warning(file.dataset),
            ),
        )


def _about(file: DicomFile, header: PixelHeader) -> ImageAbout:
    dataset = file.dataset
    return ImageAbout(
        format="dicom",
        rows=header.rows,
        columns=header.columns,
        photometric_interpretation=header.photometric_interpretation,
        bits_stored=header.bits_stored,
        transfer_syntax=str(file.transfer_syntax),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        view_position=view_position(dataset),
        spacing_mm=_spacing_mm(dataset),
    )


def _uid(dataset: Dataset, keyword: str) -> str | None:
    uid = text(dataset, keyword)
    return uid if is_uid(uid) else None


def is_uid(text: str) -> bool:
    """True if `text` is a well-formed UID: PS3.5 9.1."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def _spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """(between rows, between columns) in mm; Pixel Spacing where there is one, PS3.3 10.7.1.3."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        values = [number(dataset, keyword, index) for index in range(2)]
        rows_mm, columns_mm = (
            value if value is not None and math.isfinite(value) else 0.0 for value in values
        )
        if rows_mm > 0 and columns_mm > 0:
            return rows_mm, columns_mm
    return None


def _excess_warning(dataset: Dataset, header: PixelHeader) -> tuple[str, ...]:
    element = dataset["PixelData"]
    excess = 0 if element.is_undefined_length else len(element.value) - header.native_bytes
    if excess <= header.native_bytes % 2:  # PS3.5 8.1.1: padding to an even length
        return ()
    return (f"The pixel data are {excess} bytes longer than the image; the last ones were left out.",)


def _padding_warning(dataset: Dataset) -> tuple[str, ...]:
    if "PixelPaddingValue" not in dataset:
        return ()
    return (
        "The image declares a Pixel Padding Value. Padding was kept, as in the images the networks were "
        "trained on; a large padded border changes the grey levels of the rest.",
    )


def _aspect_warning(dataset: Dataset) -> tuple[str, ...]:
    spacing_mm = _spacing_mm(dataset)
    vertical, horizontal = (number(dataset, "PixelAspectRatio", index) or 1 for index in range(2))
    ratio = spacing_mm[0] / spacing_mm[1] if spacing_mm else vertical / horizontal
    if abs(ratio - 1) <= _SQUARE_WITHIN:
        return ()
    return (
        f"The pixels are not square (height to width {ratio:.3g}); the image was judged as it is stored.",
    )
