"""Networks, viewer and overlay see one picture, of the same polarity and orientation, by the header."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import pairwise
from typing import Any, Final, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from cxrserve.imaging.display import display
from cxrserve.imaging.display_header import DisplayedImage
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.orientation import (
    Directions,
    Orientation,
    as_stored,
    shown_directions,
    shown_point,
    to_standard,
    upright,
)
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.pyramid import Preprocessing, resize
from tests.imaging import makers

PREPROCESSING: Final = Preprocessing(profile="mimic-cxr-jpg", sizes=(64,))
ORIENTATIONS: Final[tuple[Orientation, ...]] = get_args(Orientation)
STANDARD: Final[Directions] = ("L", "F")


def _film() -> NDArray[np.uint16]:
    """Bright at the upper right: no turn, mirror or inversion of it looks like itself."""
    film = makers.radiograph(120, 100).astype(np.float64)
    y, x = np.mgrid[0:120, 0:100]
    film = film / 2 + 900 * np.exp(-(((x - 75) / 20) ** 2 + ((y - 30) / 15) ** 2)) + 6 * x
    stored: NDArray[np.uint16] = np.rint(np.clip(film, 0, 4095)).astype(np.uint16)
    return stored


FILM: Final = _film()


def _lut(entries: NDArray[Any], bits: int = 12, **elements: Any) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), 0, bits]
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


FALLING: Final = np.arange(4095, -1, -1)
RISING: Final = np.arange(4096)
NEGATIVE: Final = {"RescaleSlope": -1, "RescaleIntercept": 4095}
MODALITY_LUT: Final = {"ModalityLUTSequence": [_lut(FALLING, ModalityLUTType="US")]}
WINDOW: Final = {"WindowCenter": 2048, "WindowWidth": 4096}

# (stored inverted?, elements of the header)
DICOM_CASES: Final[dict[str, tuple[bool, dict[str, Any]]]] = {
    "plain": (False, {}),
    "window": (False, WINDOW),
    "monochrome1": (True, {"photometric": "MONOCHROME1"}),
    "monochrome1, shape inverse": (True, {"photometric": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}),
    "monochrome2, shape inverse": (True, {"PresentationLUTShape": "INVERSE"}),
    "negative slope": (True, NEGATIVE),
    "negative slope, window": (True, NEGATIVE | WINDOW),
    "negative slope, monochrome1": (False, NEGATIVE | {"photometric": "MONOCHROME1"}),
    "falling modality lut": (True, MODALITY_LUT),
    "falling modality lut, window": (True, MODALITY_LUT | WINDOW),
    "falling modality lut, monochrome1": (False, MODALITY_LUT | {"photometric": "MONOCHROME1"}),
    "falling voi lut": (True, {"VOILUTSequence": [_lut(FALLING)]}),
    "rising voi lut": (False, {"VOILUTSequence": [_lut(RISING)]}),
    "falling voi lut after a negative slope": (False, NEGATIVE | {"VOILUTSequence": [_lut(FALLING)]}),
    "voi lut that says 16 bits": (True, {"VOILUTSequence": [_lut(FALLING, bits=16)]}),
    "voi lut after a rescale": (
        False,
        {"RescaleSlope": 1, "RescaleIntercept": -100, "VOILUTSequence": [_lut(RISING)]},
    ),
}


def _dicom(inverted: bool, elements: dict[str, Any], stored: NDArray[np.uint16] = FILM) -> bytes:
    values = (4095 - stored).astype(np.uint16) if inverted else stored
    return makers.dicom(values, **elements)


def first_look(shown: DisplayedImage) -> NDArray[np.uint8]:
    """The picture that the viewer opens with: `firstLook` and `lookUpTable` of its window.js."""
    header = shown.header
    rows, columns = header.about.rows, header.about.columns
    kind = np.dtype("u1" if header.sample == "uint8" else "<u2")
    stored = np.frombuffer(shown.payload, kind, rows * columns).reshape(rows, columns) + header.offset
    start, span = rows * columns * kind.itemsize, header.highest - header.lowest + 1
    tables = [
        np.frombuffer(shown.payload, np.uint8, span, start + index * span)
        for index in range(len(header.tables))
    ]
    file = next(
        (values for table, values in zip(header.tables, tables, strict=True) if table.kind == "file"), None
    )
    if file is not None and not header.windows:
        grey = file[stored - header.lowest].astype(np.float64)
    else:
        values = stored * header.slope + header.intercept
        centre, width = values.mean(), float(np.ptp(values))
        if header.windows:
            centre, width = header.windows[0].centre, header.windows[0].width
        grey = np.clip((values - centre) / width + 0.5, 0, 1) * 255
    shown_HW: NDArray[np.uint8] = np.rint(255 - grey if header.white_is_low else grey).astype(np.uint8)
    return shown_HW


def network_look(shown: DisplayedImage) -> NDArray[np.uint8]:
    """The preset "As the networks see it"."""
    network = next(index for index, table in enumerate(shown.header.tables) if table.kind == "network")
    header = shown.header.model_copy(
        update={"windows": (), "tables": (shown.header.tables[network].model_copy(update={"kind": "file"}),)}
    )
    pixels = header.about.rows * header.about.columns * (2 if header.sample == "uint16" else 1)
    span = header.highest - header.lowest + 1
    start = pixels + network * span
    payload = bytes(shown.payload[:pixels]) + bytes(shown.payload[start : start + span])
    return first_look(DisplayedImage(header=header, payload=payload))


def alike(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Correlation of two pictures, brought to one size."""
    small = resize(np.ascontiguousarray(one, np.uint8), 64, 64, "area")
    return float(
        np.corrcoef(small.ravel(), resize(np.ascontiguousarray(other, np.uint8), 64, 64, "area").ravel())[
            0, 1
        ]
    )


def check_all_agree(data: bytes) -> None:
    """Networks, overlay and viewer have the picture of `FILM`."""
    film = (FILM >> 4).astype(np.uint8)
    image = prepare(data, PREPROCESSING, Limits(), preview_side=256)
    shown = display(data, PREPROCESSING, Limits())
    assert image.preview_HW is not None
    for picture in (image.levels[64], image.preview_HW, first_look(shown), network_look(shown)):
        assert alike(picture, film) > 0.9
    assert image.about == shown.header.about
    assert (image.about.rows, image.about.columns) == (120, 100)
    assert {warning.code for warning in image.warnings} >= {warning.code for warning in shown.header.warnings}


@pytest.mark.parametrize("case", DICOM_CASES)
def test_polarity(case: str) -> None:
    check_all_agree(_dicom(*DICOM_CASES[case]))


def test_inversions_are_named_among_the_steps() -> None:
    steps = {
        case: next(
            (
                step
                for step in prepare(_dicom(*DICOM_CASES[case]), PREPROCESSING, Limits()).applied
                if step.startswith("invert")
            ),
            None,
        )
        for case in DICOM_CASES
    }
    assert steps["plain"] is None
    assert steps["monochrome1"] == "invert-monochrome1"
    assert steps["negative slope"] == "invert-rescale-slope"
    assert steps["falling voi lut"] == "invert-falling-lut"
    assert steps["monochrome2, shape inverse"] == "invert-presentation-lut-shape"
    assert steps["negative slope, monochrome1"] is None


@pytest.mark.parametrize(
    ("photometric", "elements"),
    [
        ("MONOCHROME2", {"PresentationLUTShape": "INVERSE"}),
        ("MONOCHROME1", {"PresentationLUTShape": "IDENTITY"}),
        ("MONOCHROME2", WINDOW | {"VOILUTSequence": [_lut(FALLING)]}),
        ("MONOCHROME2", {"VOILUTSequence": [_lut(RISING), _lut(FALLING)]}),
    ],
)
def test_contradictions_about_the_polarity_are_reported(photometric: str, elements: dict[str, Any]) -> None:
    image = prepare(makers.dicom(FILM, photometric=photometric, **elements), PREPROCESSING, Limits())
    assert "polarity-unclear" in [warning.code for warning in image.warnings]


@pytest.mark.parametrize(
    "case",
    ["plain", "monochrome1", "monochrome1, shape inverse", "negative slope", "falling voi lut", "window"],
)
def test_sound_headers_are_quiet(case: str) -> None:
    assert prepare(_dicom(*DICOM_CASES[case]), PREPROCESSING, Limits()).warnings == ()


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_patient_orientation(orientation: Orientation, inverted: bool) -> None:
    stored = as_stored(FILM, orientation)
    directions = next(
        directions for directions in _all_directions("LR") if to_standard(directions) == orientation
    )
    elements: dict[str, Any] = {"PatientOrientation": list(directions), "ImagerPixelSpacing": [0.1, 0.2]}
    data = _dicom(inverted, elements | ({"photometric": "MONOCHROME1"} if inverted else {}), stored)
    check_all_agree(data)
    image, shown = prepare(data, PREPROCESSING, Limits()), display(data, PREPROCESSING, Limits())
    assert image.about.orientation == orientation
    assert image.about.stored_shape == stored.shape
    assert shown.header.orientation == STANDARD
    swapped = orientation >= 5
    assert image.about.spacing_mm == ((0.2, 0.1) if swapped else (0.1, 0.2))
    assert shown.header.aspect == pytest.approx(2 if swapped else 0.5)
    codes = [warning.code for warning in image.warnings]
    assert ("orientation-corrected" in codes) == (orientation != 1)
    assert (f"patient-orientation-{orientation}" in image.applied) == (orientation != 1)


def _all_directions(sides: str) -> list[Directions]:
    pairs = [(side, end) for side in sides for end in "HF"]
    return [*pairs, *((end, side) for side, end in pairs)]


@pytest.mark.parametrize("sides", ["LR", "AP"])
def test_every_direction_leads_to_the_standard(sides: str) -> None:
    for directions in _all_directions(sides):
        turn = to_standard(directions)
        assert turn is not None
        across, down = shown_directions(directions, turn)
        assert down == "F"
        assert across == "L" if sides == "LR" else across in "AP"
    assert to_standard(("AF", "R")) is None
    assert to_standard(("L", "P")) is None


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turn_can_be_undone(orientation: Orientation) -> None:
    assert np.array_equal(upright(as_stored(FILM, orientation), orientation), FILM)
    assert np.array_equal(as_stored(upright(FILM, orientation), orientation), FILM)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_point_moves_with_its_pixel(orientation: Orientation) -> None:
    stored = np.zeros((6, 9), np.uint8)
    stored[1, 7] = 1
    shown = upright(stored, orientation)
    column, row = shown_point(7.5, 1.5, stored.shape, orientation)
    assert shown[int(row), int(column)] == 1
    assert (column % 1, row % 1) == (0.5, 0.5)


def test_directions_without_a_projection_are_reported() -> None:
    image = prepare(makers.dicom(FILM, PatientOrientation=["L", "P"]), PREPROCESSING, Limits())
    assert [warning.code for warning in image.warnings] == ["orientation-unclear"]


def tiff(orientation: int, *, kind: int = 3, order: str = "<", tag: int = 0x0112) -> bytes:
    """A TIFF structure with one entry: SHORT (3), LONG (4) or BYTE (1)."""
    value = struct.pack(f"{order}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", orientation).ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IHHHI", 8, 1, tag, kind, 1) + value + bytes(4)


def jpeg(stored: NDArray[Any], *segments: bytes) -> bytes:
    """A JPEG with Exif segments of these TIFF structures."""
    file = io.BytesIO()
    Image.fromarray((stored >> 4).astype(np.uint8)).save(file, "JPEG", quality=95)
    data = file.getvalue()
    app1 = b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 8) + b"Exif\0\0" + body for body in segments)
    return data[:2] + app1 + data[2:]


def png(stored: NDArray[Any], exif: bytes) -> bytes:
    """A PNG with an eXIf chunk before its pixels."""
    file = io.BytesIO()
    Image.fromarray((stored >> 4).astype(np.uint8)).save(file, "PNG")
    data = file.getvalue()
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif
    return data[:33] + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + data[33:]


@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_of_jpeg_and_png(orientation: Orientation, order: str, kind: int) -> None:
    stored, exif = as_stored(FILM, orientation), tiff(orientation, order=order, kind=kind)
    check_all_agree(jpeg(stored, exif))
    check_all_agree(png(stored, exif))


def test_the_orientation_may_stand_in_a_later_exif_segment() -> None:
    stored, exif = as_stored(FILM, 6), tiff(6)
    check_all_agree(jpeg(stored, tiff(1, tag=0x0100), exif))
    check_all_agree(jpeg(stored, exif[:12], exif[12:]))  # continued in the next segment
    check_all_agree(jpeg(FILM, tiff(1), exif))  # the first that names one decides


def test_damaged_exif_is_no_orientation() -> None:
    exif = tiff(6)
    for first, _ in pairwise(range(len(exif) - 3)):
        check_all_agree(jpeg(FILM, exif[:first])) if first < 18 else None
    check_all_agree(png(FILM, tiff(9)))


def test_dicom_knows_no_exif() -> None:
    """A stream inside DICOM lies as its header says."""
    stream = jpeg(FILM, tiff(6))
    grey8 = (FILM >> 4).astype(np.uint8)
    check_all_agree(makers.encapsulated(grey8, [stream], syntax="1.2.840.10008.1.2.4.50", bits=8))
