"""The report is put together as bytes; they are those that highdicom and pydicom make, to the last one."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from cxrserve.bundle.adopted_site import AdoptedSite
from cxrserve.bundle.contract import Bundle
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.reports.dicom import ImageSummary, Reference, Refusal, study_report
from cxrserve.reports.dicom.content import code_item
from cxrserve.reports.dicom.elements import element, floats_element, sequence, text_element, with_element
from tests import radiographs
from tests.reports.conftest import PATIENT, WHEN, Made, Make
from tests.reports.highdicom_report import report_of_highdicom

CHARACTER_SETS: list[dict[str, Any]] = [
    {"PatientName": None, "PatientID": None},
    {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Łukaszewicz^Žofie"},
    {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^XiaoDong=王^小东"},
]


@pytest.fixture(scope="module")
def refusal(made: Made) -> Refusal:
    image = made.summary.image.model_copy(update={"sop_instance_uid": "1.2.3"})
    return Refusal(
        image=image, slug="wrong-view", title="A view that is not analysed", detail="The view is “LL”…"
    )


def check(
    made: Made, summaries: list[ImageSummary], refusals: list[Refusal], bundle: Bundle, **more: Any
) -> None:
    ours = study_report([made.source], summaries, refusals, bundle, when=WHEN, **more)
    with quiet:
        expected = report_of_highdicom([made.source], summaries, refusals, bundle, WHEN, **more)
    assert ours == expected


@pytest.mark.parametrize("elements", [PATIENT, *CHARACTER_SETS])
def test_one_image(make: Make, elements: dict[str, Any]) -> None:
    made = make(radiographs.dicom(**elements))
    check(made, [made.summary], [], made.bundle)


def test_an_image_that_was_refused(made: Made, refusal: Refusal) -> None:
    check(made, [], [refusal], made.bundle)


def test_several_images_and_the_report_before(made: Made, refusal: Refusal) -> None:
    other = made.summary.model_copy(update={"overlay": None})
    before = Reference(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="1.7", series_instance_uid="1.8"
    )
    check(made, [made.summary, other], [refusal], made.bundle, revision=3, predecessor=before)


def test_numbers_of_any_length_and_a_site_file(made: Made) -> None:
    findings = [
        finding.model_copy(update={"probability": probability, "heatmap": None})
        for finding, probability in zip(
            made.summary.findings, [0.0, 1.0, 1e-6, 4.9e-7, 1 / 3, 0.1, 123.0, *[0.5] * 7], strict=True
        )
    ]
    summary = made.summary.model_copy(update={"findings": tuple(findings)})
    site = AdoptedSite(name="north", version=2, sha256="0" * 64)
    check(made, [summary], [], replace(made.bundle, site=site))


def test_a_private_class_has_no_regions(made: Made) -> None:
    image = made.summary.image.model_copy(update={"sop_class_uid": "1.2.3.4.5"})
    check(made, [made.summary.model_copy(update={"image": image})], [], made.bundle)


def test_elements_are_those_of_pydicom() -> None:
    inner, dataset = Dataset(), Dataset()
    inner.CodeValue = "odd"
    inner.GraphicData = [1.5, 1 / 3]
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PixelData = b"\x01\x02"
    dataset["PixelData"].VR = "OW"
    dataset.ConceptCodeSequence = [inner, Dataset()]
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=True)
    items = [text_element(0x0008_0100, "SH", "odd") + floats_element(0x0070_0022, [1.5, 1 / 3]), b""]
    assert file.getvalue() == (
        text_element(0x0008_0018, "UI", "1.2.3")
        + sequence(0x0040_A168, items)
        + element(0x7FE0_0010, "OW", struct.pack("<H", 0x0201))
    )


@pytest.mark.parametrize("tag", ["PatientName", "ConceptCodeSequence", "ContentDescription"])
def test_an_element_goes_to_its_place(tag: str) -> None:
    """Into the middle, behind a long element, and to the end."""
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("1.2.3")
    dataset.PatientName, dataset.ContentDescription = "Doe^Jane", "all"
    dataset.ConceptCodeSequence = [Dataset()]
    whole, without = io.BytesIO(), io.BytesIO()
    dataset.save_as(whole, enforce_file_format=True)
    values = {
        "PatientName": text_element(0x0010_0010, "PN", "Doe^Jane"),
        "ConceptCodeSequence": sequence(0x0040_A168, [b""]),
        "ContentDescription": text_element(0x0070_0081, "LO", "all"),
    }
    number = int(dataset[tag].tag)
    delattr(dataset, tag)
    dataset.save_as(without, enforce_file_format=True)
    assert with_element(without.getvalue(), number, values[tag]) == whole.getvalue()
    with pytest.raises(ValueError, match="already"):
        with_element(whole.getvalue(), number, values[tag])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="65536 bytes"):
        text_element(0x0008_0104, "LO", "a" * 65536)
    with pytest.raises(ValueError, match="more than 16 characters"):
        code_item(Code("a" * 17, "DCM", "long"), Code("1", "DCM", "short"))
