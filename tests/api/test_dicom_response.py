"""A prediction answered with DICOM objects, taken apart by the standard library's MIME parser."""

from __future__ import annotations

import email
import email.policy
import io
import time
from typing import Any

import httpx
import pydicom
import pytest

from tests import radiographs
from tests.api.conftest import check_problem

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
ACCEPT = {"Accept": 'multipart/related; type="application/dicom"'}


def objects(response: httpx.Response) -> list[pydicom.FileDataset]:
    assert response.status_code == 200, response.text
    kind = response.headers["content-type"]
    assert kind.startswith('multipart/related; type="application/dicom"; boundary=')
    whole = email.message_from_bytes(
        f"Content-Type: {kind}\r\n\r\n".encode() + response.content, policy=email.policy.HTTP
    )
    parts: list[Any] = list(whole.walk())[1:]
    assert all(part.get_content_type() == "application/dicom" for part in parts)
    return [pydicom.dcmread(io.BytesIO(part.get_payload(decode=True))) for part in parts]


def written(dataset: pydicom.Dataset) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset)
    return file.getvalue()


def test_by_header_and_by_query(client: httpx.Client, chest_dicom: bytes) -> None:
    by_header = objects(client.post("/predict", content=chest_dicom, headers=ACCEPT))
    by_query = objects(client.post("/predict?accept=dicom", files={"file": chest_dicom}))
    film = pydicom.dcmread(io.BytesIO(chest_dicom))
    for made in (by_header, by_query):
        assert [each.SOPClassUID for each in made] == [SECONDARY_CAPTURE, PRESENTATION_STATE, REPORT]
        assert {each.StudyInstanceUID for each in made} == {film.StudyInstanceUID}


def test_the_same_upload_at_another_time_gives_other_objects(
    client: httpx.Client, chest_dicom: bytes
) -> None:
    """A UID that comes again with other times in it would be refused by a PACS, or be taken for damage."""

    def ask() -> dict[str, bytes]:
        made = objects(client.post("/predict", content=chest_dicom, headers=ACCEPT))
        return {str(each.SOPInstanceUID): written(each) for each in made}

    once = ask()
    time.sleep(1.1)
    again = ask()
    assert len(once) == len(again) == 3
    assert all(once[uid] == again[uid] for uid in once.keys() & again.keys())
    assert not once.keys() & again.keys(), "the times differ, so the objects do"


def test_a_report_points_at_the_overlay_beside_it(client: httpx.Client, chest_dicom: bytes) -> None:
    overlay, _, report = objects(client.post("/predict", content=chest_dicom, headers=ACCEPT))
    assert overlay.SOPInstanceUID in str(report)


def test_the_query_goes_before_the_header(client: httpx.Client, chest_dicom: bytes) -> None:
    response = client.post("/predict?accept=json", content=chest_dicom, headers=ACCEPT)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "multipart/related", 'multipart/related; type="application/dicom+json"'],
)
def test_what_does_not_ask_for_it_gets_json(client: httpx.Client, chest_dicom: bytes, accept: str) -> None:
    response = client.post("/predict", content=chest_dicom, headers={"Accept": accept})
    assert response.headers["content-type"] == "application/json"


def test_a_jpeg_belongs_to_no_study(client: httpx.Client, chest_jpeg: bytes) -> None:
    detail = check_problem(client.post("/predict?accept=dicom", content=chest_jpeg), 406, "not-acceptable")
    assert "JPEG" in detail


def test_a_study_has_one_report(client: httpx.Client) -> None:
    films = [radiographs.dicom(SOPInstanceUID=f"1.2.{number}") for number in (3, 4)]
    made = objects(client.post("/predict/study?accept=dicom", files=[("file", film) for film in films]))
    assert [each.SOPClassUID for each in made].count(REPORT) == 1
    assert made[-1].SOPClassUID == REPORT
    assert len(made) == 5
    assert len({each.SOPInstanceUID for each in made}) == 5


def test_images_of_two_studies_are_refused(client: httpx.Client) -> None:
    films = [radiographs.dicom(StudyInstanceUID=f"1.2.{number}") for number in (3, 4)]
    response = client.post("/predict/study?accept=dicom", files=[("file", film) for film in films])
    assert "2 different studies" in check_problem(response, 400, "bad-request")


def test_images_of_two_patients_are_refused(client: httpx.Client) -> None:
    films = [radiographs.dicom(SOPInstanceUID=f"1.2.{number}", PatientID=f"P{number}") for number in (3, 4)]
    response = client.post("/predict/study?accept=dicom", files=[("file", film) for film in films])
    assert "2 different Patient IDs" in check_problem(response, 400, "bad-request")


def test_a_refused_image_is_a_problem_as_ever(client: httpx.Client) -> None:
    film = radiographs.dicom(PresentationIntentType="FOR PROCESSING")
    check_problem(client.post("/predict?accept=dicom", content=film), 422, "not-for-presentation")
    nothing = radiographs.dicom(StudyInstanceUID=None)
    check_problem(client.post("/predict?accept=dicom", content=nothing), 422, "unreadable-image")
