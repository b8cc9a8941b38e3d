"""Display data: stored values with their sign, windows, tables, sides, and the patient."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxrserve.errors import NotAChestRadiograph, UnreadableImage
from cxrserve.imaging.display import display
from cxrserve.imaging.display_header import DisplayedImage, payload_bytes
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import read_radiograph
from cxrserve.imaging.profiles import PROFILES, apply_profile
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.types import ProfileName
from tests import radiographs


def _display(data: bytes, profile: ProfileName = "mimic-cxr-jpg") -> DisplayedImage:
    return display(data, Preprocessing(profile=profile, sizes=(64,)), Limits())


def _values(image: DisplayedImage) -> NDArray[np.int64]:
    about, header = image.header.about, image.header
    kind = "<u2" if header.sample == "uint16" else "u1"
    samples = np.frombuffer(image.payload, kind, about.rows * about.columns)
    return samples.astype(np.int64).reshape(about.rows, about.columns) + header.offset


def _tables(image: DisplayedImage) -> dict[str, NDArray[np.uint8]]:
    header = image.header
    length = header.highest - header.lowest + 1
    start = payload_bytes(header) - length * len(header.tables)
    return {
        table.label or table.kind: np.frombuffer(image.payload, np.uint8, length, start + index * length)
        for index, table in enumerate(header.tables)
    }


def _file(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_signed_values_keep_their_sign() -> None:
    dataset = radiographs.dataset(PixelRepresentation=1)
    values_HW = (radiographs.pixels().astype("<i2") << 3) - 700
    dataset.PixelData = values_HW.tobytes()
    image = _display(_file(dataset))
    assert image.header.offset == image.header.lowest == int(values_HW.min()) < 0
    np.testing.assert_array_equal(_values(image), values_HW)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("profile", PROFILES)
def test_the_networks_table_shows_what_the_networks_see(profile: ProfileName, photometric: str) -> None:
    data = radiographs.dicom(PhotometricInterpretation=photometric)
    image = _display(data, profile)
    tables = _tables(image)
    if profile == "clahe":
        assert not tables  # there a grey depends on its neighbourhood, too
        return
    seen_HW, _ = apply_profile(read_radiograph(data, Limits()), profile)
    shown_HW = tables["network"][_values(image) - image.header.lowest]
    inverted = image.header.white_is_low
    assert inverted == (photometric == "MONOCHROME1")
    np.testing.assert_array_equal(255 - shown_HW if inverted else shown_HW, seen_HW)


def test_every_window_of_the_file_with_its_name_and_function() -> None:
    image = _display(
        radiographs.dicom(
            WindowCenter=[2048, 1000],
            WindowWidth=[4096, 600],
            WindowCenterWidthExplanation=["NORMAL", "HARDER"],
            VOILUTFunction="SIGMOID",
        )
    )
    assert [(each.label, each.centre, each.width, each.function) for each in image.header.windows] == [
        ("NORMAL", 2048, 4096, "SIGMOID"),
        ("HARDER", 1000, 600, "SIGMOID"),
    ]


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 1, "WindowWidth": 0},
        {"WindowCenter": 1},
        {"PatientOrientation": ["L", "R"]},
        {"PatientOrientation": ["XY", "F"]},
        {"PatientOrientation": "L"},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
    ],
)
def test_what_is_not_well_formed_is_left_out(elements: dict[str, Any]) -> None:
    header = _display(radiographs.dicom(**elements)).header
    assert header.windows == ()
    assert header.orientation is None
    assert (header.slope, header.intercept) == (1, 0)


def test_sides_aspect_and_person() -> None:
    header = _display(
        radiographs.dicom(
            PatientOrientation=["L", "F"],
            PixelSpacing=[0.3, 0.15],
            PatientName="Björk^Åsa",
            SpecificCharacterSet="ISO_IR 100",
            PatientID="<script>",
            StudyDate="20260102",
        )
    ).header
    assert header.orientation == ("L", "F")
    assert header.aspect == pytest.approx(2)
    assert header.patient is not None
    assert (header.patient.name, header.patient.id) == ("Björk^Åsa", "<script>")
    assert header.study_date == "20260102"


@pytest.mark.parametrize(
    ("patient", "detector", "calibrated"),
    [
        ([0.13, 0.13], [0.143, 0.143], True),
        ([0.143, 0.143], [0.143, 0.143], False),
        ([0.13, 0.13], None, False),
        (None, [0.143, 0.143], False),
    ],
)
def test_a_spacing_is_calibrated_where_it_differs_from_the_detectors(
    patient: list[float] | None, detector: list[float] | None, calibrated: bool
) -> None:
    header = _display(radiographs.dicom(PixelSpacing=patient, ImagerPixelSpacing=detector)).header
    assert header.is_calibrated is calibrated
    assert header.about.spacing_mm == tuple(patient or detector or ())


def _lut(first: int, entries: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    item.LUTExplanation = "CURVE"
    return item


def test_a_voi_lut_is_a_table_that_goes_on_beyond_its_ends() -> None:
    image = _display(radiographs.dicom(VOILUTSequence=[_lut(1000, [0, 1023, 511], 10)]))
    table, lowest = _tables(image)["CURVE"], image.header.lowest
    picked = {value: int(table[value - lowest]) for value in (999, 1000, 1001, 1002, 1500)}
    assert picked == {999: 0, 1000: 0, 1001: 255, 1002: 127, 1500: 127}


def test_a_modality_lut_and_a_window_are_one_table() -> None:
    falling = list(range(4095, -1, -1))
    image = _display(
        radiographs.dicom(
            ModalityLUTSequence=[_lut(0, falling, 12)],
            WindowCenter=2047.5,
            WindowWidth=4095,
            VOILUTFunction="LINEAR_EXACT",
        )
    )
    assert image.header.windows == ()
    table = next(greys for label, greys in _tables(image).items() if label == "file")
    assert (np.diff(table.astype(int)) <= 0).all()


def test_what_is_no_radiograph_is_not_shown_either() -> None:
    with pytest.raises(NotAChestRadiograph, match="names another part"):
        _display(radiographs.dicom(BodyPartExamined="KNEE"))
    empty = radiographs.dataset()
    empty.PixelData = bytes(len(empty.PixelData))
    with pytest.raises(NotAChestRadiograph, match="every pixel"):
        _display(_file(empty))
    with pytest.raises(UnreadableImage):
        _display(radiographs.jpeg()[:3000])
