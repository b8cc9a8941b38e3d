"""POST /predict/study: each image's answer, and the bundle's rule over them."""

from __future__ import annotations

import httpx
import pytest

from cxrserve.findings import NAMES
from tests import radiographs
from tests.api.conftest import check_problem
from tests.conftest import Serve


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", ("x", content)) for content in contents]


def test_the_largest_probability_decides(client: httpx.Client, chest_jpeg: bytes, chest_dicom: bytes) -> None:
    sent = [chest_jpeg, chest_dicom, radiographs.jpeg(200, 300)]
    response = client.post("/predict/study", files=files(*sent), params={"heatmaps": "none"})
    assert response.status_code == 200, response.text
    study = response.json()
    alone = [client.post("/predict", content=data, params={"heatmaps": "none"}).json() for data in sent]
    assert [image["findings"] for image in study["images"]] == [image["findings"] for image in alone]
    assert study["rule"] == "maximum"
    assert [each["finding"] for each in study["findings"]] == list(NAMES)
    for index, each in enumerate(study["findings"]):
        probabilities = [image["findings"][index]["probability"] for image in alone]
        assert each["probability"] == max(probabilities)
        assert each["decided_by"] == probabilities.index(max(probabilities))


def test_one_bad_file_refuses_the_study_and_says_which(client: httpx.Client, chest_jpeg: bytes) -> None:
    damaged = radiographs.png()[:2000]
    response = client.post("/predict/study", files=files(chest_jpeg, damaged, chest_jpeg))
    detail = check_problem(response, 422, "unreadable-image")
    assert detail.startswith("file 1 (counted from 0): ")
    assert response.json()["file"] == 1


def test_images_of_two_studies_are_refused(client: httpx.Client) -> None:
    sent = files(radiographs.dicom(StudyInstanceUID="1.2.3"), radiographs.dicom(StudyInstanceUID="1.2.4"))
    assert "2 different studies" in check_problem(
        client.post("/predict/study", files=sent), 400, "bad-request"
    )


def test_one_file_is_no_study(client: httpx.Client, chest_jpeg: bytes) -> None:
    assert "/predict" in check_problem(
        client.post("/predict/study", files=files(chest_jpeg)), 400, "bad-request"
    )


@pytest.mark.parametrize("content_type", ["image/jpeg", None])
def test_bare_bytes_are_no_study(client: httpx.Client, chest_jpeg: bytes, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = client.post("/predict/study", content=chest_jpeg, headers=headers)
    check_problem(response, 415, "unsupported-media-type")
    assert response.headers["accept"] == "multipart/form-data"


def test_more_files_or_bytes_than_the_settings_allow(serve: Serve, chest_jpeg: bytes) -> None:
    with serve(max_study_files=3, max_upload_bytes=2 * len(chest_jpeg) + 100) as running:
        url = f"{running.url}/predict/study?heatmaps=none"
        assert httpx.post(url, files=files(chest_jpeg, chest_jpeg)).status_code == 200
        check_problem(httpx.post(url, files=files(chest_jpeg, chest_jpeg, chest_jpeg)), 413, "too-large")
        four = files(b"a", b"b", b"c", b"d")
        assert "3 files" in check_problem(httpx.post(url, files=four), 413, "too-large")
