"""Identifiers of an image stand in its results as they are, also where they break the standard."""

from __future__ import annotations

import io
import json
from typing import Any

import pydicom
import pytest
from pydicom.config import disable_value_validation

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom.source_header import source_header
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.reports.dicom import read_source
from cxrserve.reports.fhir import diagnostic_report
from tests import radiographs
from tests.reports.conftest import PATIENT, WHEN, Make

LONG: dict[str, Any] = {
    "AccessionNumber": "20261128001234567890",
    "PatientID": "P" * 70,
    "PatientName": "N" * 70 + "^Anna",
    "StudyID": "S" * 20,
    "StudyDescription": "D" * 80,
    "ReferringPhysicianName": "R" * 70,
}
ZEROS: dict[str, Any] = {
    "StudyInstanceUID": "1.2.840.0113619.02.55",
    "SeriesInstanceUID": "1.2.840.0113619.02.66",
    "SOPInstanceUID": "1.2.840.0113619.02.77",
}


def odd_dicom(**elements: Any) -> bytes:
    with disable_value_validation():
        return radiographs.dicom(**PATIENT | elements)


@pytest.mark.parametrize("elements", [LONG, ZEROS, LONG | ZEROS])
def test_results_repeat_identifiers(make: Make, elements: dict[str, Any]) -> None:
    made = make(odd_dicom(**elements))
    assert set(made.objects) == {"report", "overlay", "presentation-state", "segmentation"}
    with quiet:
        for each in made.objects.values():
            result = pydicom.dcmread(io.BytesIO(each.part10))
            for keyword in elements.keys() - {"SeriesInstanceUID", "SOPInstanceUID"}:
                assert str(result[keyword].value) == elements[keyword], (each.kind, keyword)
            if "SOPInstanceUID" in elements:
                assert elements["SOPInstanceUID"].encode() in each.part10, "it refers to the image"
    report = json.loads(diagnostic_report([made.source], [made.summary], [], made.bundle, when=WHEN).decode())
    if "AccessionNumber" in elements:
        assert report["identifier"][0]["value"] == elements["AccessionNumber"]
        assert report["subject"]["identifier"]["value"] == elements["PatientID"]


@pytest.mark.parametrize("keyword", ["PatientID", "AccessionNumber"])
@pytest.mark.parametrize(("value", "problem"), [("1" * 1025, "1024 characters"), ("A\\B", "several values")])
def test_an_identifier_that_no_result_can_repeat_is_refused(keyword: str, value: str, problem: str) -> None:
    with pytest.raises(UnreadableImage, match=f"{keyword} has .*{problem}"):
        source_header(odd_dicom(**{keyword: value}))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_uid_that_is_too_long_is_refused_by_its_name(keyword: str) -> None:
    with pytest.raises(UnreadableImage, match=f"{keyword} cannot be read.*no UID of 1 to 64 digits"):
        source_header(odd_dicom(**{keyword: "1." + "2" * 64}))


def test_a_header_is_read_with_leading_zeros() -> None:
    source = read_source(source_header(odd_dicom(**ZEROS)))
    assert source.study_instance_uid == ZEROS["StudyInstanceUID"]
    assert source.sop_instance_uid == ZEROS["SOPInstanceUID"]
