"""The same image in another form is a duplicate; another image or another patient is not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from tests import radiographs
from tests.stations import Station, station


@pytest.fixture(scope="module")
def keeper(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station that stores everything and analyses it later than these tests last."""
    rules = {"quiet_time_s": 3600, "rules": [{"name": "all"}]}
    with station(tiny_bundle, tmp_path_factory.mktemp("keeper") / "archive", rules) as running:
        yield running


def new_image(**elements: object) -> Dataset:
    uids = {name: generate_uid() for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    image = radiographs.dataset(120, 100, **{"PatientID": "4711", **uids, **elements})
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def in_syntax(image: Dataset, syntax: UID) -> bytes:
    copy = dcmread(io.BytesIO(part10(image)))
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        copy.compress(syntax, generate_instance_uid=False)
        return part10(copy)
    file = io.BytesIO()
    if syntax == ExplicitVRBigEndian:
        copy.PixelData = np.frombuffer(copy.PixelData, "<u2").astype(">u2").tobytes()
        copy["PixelData"].VR = "OW"
    copy.file_meta.TransferSyntaxUID = syntax
    dcmwrite(file, copy, enforce_file_format=True)
    return file.getvalue()


def part10(image: Dataset) -> bytes:
    file = io.BytesIO()
    dcmwrite(file, image, enforce_file_format=True)
    return file.getvalue()


def store(node: Station, data: bytes) -> int:
    """The Failure Reason of STOW-RS; 0 where the object is stored."""
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--B--\r\n"
    answer = httpx.post(
        f"{node.url}/dicom-web/studies",
        content=body,
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'},
        timeout=60,
    )
    failed = answer.json().get("00081198", {}).get("Value", [])
    return int(failed[0]["00081197"]["Value"][0]) if failed else 0


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEGLSLossless,
        RLELossless,
    ],
)
def test_another_transfer_syntax_is_the_same_image(keeper: Station, syntax: UID) -> None:
    image = new_image()
    assert store(keeper, part10(image)) == 0
    assert store(keeper, in_syntax(image, syntax)) == 0
    assert store(keeper, part10(image)) == 0


def test_attributes_that_a_pacs_adds_leave_it_the_same_image(keeper: Station) -> None:
    image = new_image()
    assert store(keeper, part10(image)) == 0
    image.RetrieveAETitle, image.InstanceAvailability = "PACS", "ONLINE"
    image.add_new(0x00100000, "UL", 42)  # a group length
    image.IssuerOfPatientID = "HOSPITAL"
    assert store(keeper, part10(image)) == 0


def brighter(image: Dataset) -> None:
    pixels = np.frombuffer(image.PixelData, "<u2").copy()
    pixels[777] ^= 1
    image.PixelData = pixels.tobytes()


def inverted(image: Dataset) -> None:
    image.PhotometricInterpretation = "MONOCHROME1"


def of_another_patient(image: Dataset) -> None:
    image.PatientID = "4712"


def of_a_patient_that_was_unknown(image: Dataset) -> None:
    image.PatientID = "4711"


def with_another_order(image: Dataset) -> None:
    image.AccessionNumber = "B-2"


def of_another_issuer(image: Dataset) -> None:
    image.IssuerOfPatientID = "ELSEWHERE"


@pytest.mark.parametrize("change", [brighter, inverted])
def test_another_image_under_the_same_uid_is_quarantined(
    keeper: Station, change: Callable[[Dataset], None]
) -> None:
    image = new_image(AccessionNumber="B-1", PatientID="4710", IssuerOfPatientID="HERE")
    assert store(keeper, part10(image)) == 0
    change(image)
    assert store(keeper, part10(image)) == 0x0111


@pytest.mark.parametrize(
    ("change", "corrected"),
    [
        (of_another_patient, ("4712", "B-1")),
        (of_a_patient_that_was_unknown, ("4711", "B-1")),
        (with_another_order, ("4710", "B-2")),
        (of_another_issuer, ("4710", "B-1")),
    ],
)
def test_a_corrected_copy_of_an_image_moves_its_study(
    keeper: Station, change: Callable[[Dataset], None], corrected: tuple[str, str]
) -> None:
    """Also in another encoding; and the copy from before the correction changes nothing any more."""
    patient = "" if change is of_a_patient_that_was_unknown else "4710"
    image = new_image(AccessionNumber="B-1", PatientID=patient, IssuerOfPatientID="HERE")
    before = part10(image)
    change(image)
    for data in (before, in_syntax(image, ImplicitVRLittleEndian), before, part10(image)):
        assert store(keeper, data) == 0
    study = httpx.get(f"{keeper.url}/studies/{image.StudyInstanceUID}", timeout=60).json()
    assert (study["patient_id"], study["accession_number"]) == corrected
    assert len(study["images"]) == 1
