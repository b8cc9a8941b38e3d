"""Reads a DICOM file to a Radiograph with its stored values untouched."""

from __future__ import annotations

import math
from typing import Final

from pydicom.dataset import Dataset

from cxrserve.imaging.dicom.acceptance import check_is_chest_radiograph, view_position
from cxrserve.imaging.dicom.dataset import DicomFile, number, parse, text
from cxrserve.imaging.dicom.header import PixelHeader, check_has_pixels, read_pixel_header
from cxrserve.imaging.dicom.identity import is_uid
from cxrserve.imaging.dicom.pixels import decode_pixels
from cxrserve.imaging.dicom.polarity import inversions
from cxrserve.imaging.dicom.presentation import patient_orientation
from cxrserve.imaging.foreign_errors import reading
from cxrserve.imaging.grey import to_grey
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.orientation import NAMES, Orientation, swaps_sides, to_standard, upright
from cxrserve.imaging.radiograph import ImageAbout, Radiograph
from cxrserve.warnings import ImageWarning, WarningCode

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
        part_warnings = check_is_chest_radiograph(file.dataset)
        header = read_pixel_header(file.dataset, limits)
    with reading("the pixel data"):
        samples, decode_steps, pixel_warnings = decode_pixels(file, header)
        pixels_HW, grey_steps, colour_warnings = to_grey(samples)
    with reading("the DICOM file"):
        turn, turn_steps, turn_warnings = _turn(file.dataset)
        reasons, polarity_warnings = inversions(file.dataset, header.photometric_interpretation, pixels_HW)
        return Radiograph(
            pixels_HW=upright(pixels_HW, turn),
            about=_about(file, header, turn),
            steps=decode_steps + grey_steps + turn_steps,
            inversions=reasons,
            warnings=(
                *file.warnings,
                *pixel_warnings,
                *colour_warnings,
                *polarity_warnings,
                *turn_warnings,
                *part_warnings,
                *_excess_warning(file.dataset, header),
                *_padding_warning(file.dataset),
                *_aspect_warning(file.dataset),
            ),
        )


def _turn(dataset: Dataset) -> tuple[Orientation, tuple[str, ...], tuple[ImageWarning, ...]]:
    """The turn to the standard orientation by Patient Orientation, its step and its warning."""
    stored = patient_orientation(dataset)
    if stored is None:
        return 1, (), ()
    turn = to_standard(stored)
    if turn is None:
        message = (
            f"Patient Orientation ({stored[0]}, {stored[1]}) is that of no frontal and no lateral "
            "radiograph; the image was analysed as it lies. Make sure that it is upright."
        )
        return 1, (), (ImageWarning(code=WarningCode.ORIENTATION_UNCLEAR, message=message),)
    if turn == 1:
        return 1, (), ()
    message = (
        f"The image was {NAMES[turn]}, because Patient Orientation is {stored[0]}, {stored[1]}. Compare the "
        "preview with the original, and send a file with a sound header if it does not lie upright."
    )
    return (
        turn,
        (f"patient-orientation-{turn}",),
        (ImageWarning(code=WarningCode.ORIENTATION_CORRECTED, message=message),),
    )


def _about(file: DicomFile, header: PixelHeader, turn: Orientation) -> ImageAbout:
    dataset = file.dataset
    rows, columns, spacing_mm = header.rows, header.columns, _spacing_mm(dataset)
    if swaps_sides(turn):
        rows, columns, spacing_mm = columns, rows, spacing_mm and (spacing_mm[1], spacing_mm[0])
    return ImageAbout(
        format="dicom",
        rows=rows,
        columns=columns,
        photometric_interpretation=header.photometric_interpretation,
        bits_stored=header.bits_stored,
        transfer_syntax=str(file.transfer_syntax),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        view_position=view_position(dataset),
        spacing_mm=spacing_mm,
        orientation=turn,
    )


def _uid(dataset: Dataset, keyword: str) -> str | None:
    uid = text(dataset, keyword)
    return uid if is_uid(uid) else None


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


def _excess_warning(dataset: Dataset, header: PixelHeader) -> tuple[ImageWarning, ...]:
    element = dataset["PixelData"]
    excess = 0 if element.is_undefined_length else len(element.value) - header.native_bytes
    if excess <= header.native_bytes % 2:  # PS3.5 8.1.1: padding to an even length
        return ()
    return (
        ImageWarning(
            code=WarningCode.EXCESS_PIXEL_DATA,
            message=f"The pixel data are {excess} bytes longer than the image; the last ones were left out.",
        ),
    )


def _padding_warning(dataset: Dataset) -> tuple[ImageWarning, ...]:
    if "PixelPaddingValue" not in dataset:
        return ()
    return (
        ImageWarning(
            code=WarningCode.PIXEL_PADDING,
            message="The image declares a Pixel Padding Value. Padding was kept, as in the images that the "
            "networks were trained on; a large padded border changes the grey levels of the rest.",
        ),
    )


def _aspect_warning(dataset: Dataset) -> tuple[ImageWarning, ...]:
    spacing_mm = _spacing_mm(dataset)
    vertical, horizontal = (number(dataset, "PixelAspectRatio", index) or 1 for index in range(2))
    ratio = spacing_mm[0] / spacing_mm[1] if spacing_mm else vertical / horizontal
    if abs(ratio - 1) <= _SQUARE_WITHIN:
        return ()
    return (
        ImageWarning(
            code=WarningCode.NON_SQUARE_PIXELS,
            message=f"The pixels are not square (height to width {ratio:.3g}); the image was analysed as it "
            "is stored.",
        ),
    )
