"""POST /predict: the contract of the answer."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from cxrserve.bundle.contract import CONTRACT_FILE
from cxrserve.findings import NAMES
from cxrserve.reports.answer import Answer
from tests import radiographs
from tests.api.conftest import check_problem


def predict(client: httpx.Client, data: bytes, heatmaps: str = "none") -> dict[str, Any]:
    response = client.post("/predict", content=data, params={"heatmaps": heatmaps})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def with_heatmap(answer: dict[str, Any]) -> list[str]:
    return [each["finding"] for each in answer["findings"] if each["heatmap"] is not None]


def test_answers_14_findings_in_order_that_add_up(client: httpx.Client, chest_jpeg: bytes) -> None:
    answer = predict(client, chest_jpeg)
    assert [each["finding"] for each in answer["findings"]] == list(NAMES)
    for each in answer["findings"]:
        assert [scale["size"] for scale in each["scales"]] == [64, 128, 256, 512]
        assert math.fsum(scale["weight"] for scale in each["scales"]) == pytest.approx(1, abs=1e-6)
        for scale in each["scales"]:
            assert scale["probability"] == pytest.approx(1 / (1 + math.exp(-scale["logit"])), abs=1e-6)
        stacked = math.fsum(scale["weight"] * scale["probability"] for scale in each["scales"])
        assert each["probability"] == pytest.approx(stacked, abs=1e-5)
        assert each["positive"] == (each["probability"] >= each["threshold"])
    positive = [each["positive"] for each in answer["findings"]]
    assert any(positive)
    assert not all(positive)


def test_says_which_model_and_what_was_done(
    client: httpx.Client, chest_jpeg: bytes, tiny_bundle: Path
) -> None:
    answer = predict(client, chest_jpeg)
    sha256 = hashlib.sha256((tiny_bundle / CONTRACT_FILE).read_bytes()).hexdigest()
    assert answer["model"] == {"name": "tiny", "version": "1.0.0", "sha256": sha256, "site": None}
    assert "Research use only" in answer["disclaimer"]
    image = answer["image"]
    assert (image["rows"], image["columns"], image["format"]) == (
        radiographs.ROWS,
        radiographs.COLUMNS,
        "jpeg",
    )
    assert image["profile"] == "mimic-cxr-jpg"
    assert image["applied"]
    assert image["study_instance_uid"] is None
    assert {"stack", "heatmaps", "total", "engine_64", "engine_512"} <= set(answer["timing_ms"])


def test_a_dicom_brings_its_identifiers(client: httpx.Client) -> None:
    sent = radiographs.dataset()
    image = predict(client, radiographs.dicom())["image"]
    assert image["format"] == "dicom"
    assert image["study_instance_uid"] == sent.StudyInstanceUID
    assert image["series_instance_uid"] == sent.SeriesInstanceUID
    assert image["sop_instance_uid"] == sent.SOPInstanceUID
    assert image["transfer_syntax"] == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",  # curl --data-binary says so of anything
        None,
        "application/octet-stream",
        "image/png",
        "application/dicom",
        "image/jpeg",
        "IMAGE/JPEG; charset=binary",
    ],
)
def test_the_content_decides_and_a_form_says_the_same(
    client: httpx.Client, chest_jpeg: bytes, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    raw = client.post("/predict", content=chest_jpeg, headers=headers)
    form = client.post("/predict", files={"file": ("wrong.dcm", chest_jpeg, "text/html")})
    assert raw.status_code == form.status_code == 200
    assert raw.json()["findings"] == form.json()["findings"]
    assert raw.json()["image"] == form.json()["image"]


def test_heatmaps_are_aligned_pictures_on_one_scale(client: httpx.Client, chest_jpeg: bytes) -> None:
    answer = predict(client, chest_jpeg, "all")
    assert with_heatmap(answer) == list(NAMES)
    for each in answer["findings"]:
        heatmap = each["heatmap"]
        picture = cv2.imdecode(
            np.frombuffer(base64.b64decode(heatmap["png"]), np.uint8), cv2.IMREAD_UNCHANGED
        )
        assert picture is not None
        assert picture.dtype == np.uint8
        assert picture.shape == (heatmap["height"], heatmap["width"])
        aspect = heatmap["width"] / heatmap["height"]
        assert aspect == pytest.approx(radiographs.COLUMNS / radiographs.ROWS, rel=0.01)
        assert heatmap["scale"] == 1.0
        assert int(picture.max()) == min(255, round(255 * (heatmap["max"] / heatmap["scale"]) ** 0.5))


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("none", []),
        ("all", list(NAMES)),
        ("Cardiomegaly", ["Cardiomegaly"]),
        ("pleural_effusion,LUNG-OPACITY, edema,Edema", ["Edema", "Lung Opacity", "Pleural Effusion"]),
    ],
)
def test_gives_the_heatmaps_asked_for(
    client: httpx.Client, chest_jpeg: bytes, asked: str, given: list[str]
) -> None:
    assert with_heatmap(predict(client, chest_jpeg, asked)) == given


def test_gives_the_heatmaps_of_positive_findings_by_default(client: httpx.Client, chest_jpeg: bytes) -> None:
    answer = client.post("/predict", content=chest_jpeg).json()
    assert with_heatmap(answer) == [each["finding"] for each in answer["findings"] if each["positive"]]


@pytest.mark.parametrize("asked", ["Cardiomegalie", "all,none", "", "Edema,", "x" * 2000])
def test_an_unknown_heatmap_is_refused_with_what_there_is(
    client: httpx.Client, chest_jpeg: bytes, asked: str
) -> None:
    detail = check_problem(
        client.post("/predict", content=chest_jpeg, params={"heatmaps": asked}), 400, "bad-request"
    )
    if len(asked) < 1000:
        assert repr(asked.split(",")[-1] if asked != "all,none" else "all") in detail
        assert all(name in detail for name in NAMES)
    assert "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" not in detail


def test_the_answer_is_strict_json_by_its_schema_and_kept_by_nobody(
    client: httpx.Client, chest_jpeg: bytes
) -> None:
    response = client.post("/predict", content=chest_jpeg)

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    json.loads(response.text, parse_constant=refuse)
    Answer.model_validate_json(response.content)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "server" not in response.headers
    assert "access-control-allow-origin" not in response.headers


def test_every_request_has_its_own_id(client: httpx.Client) -> None:
    ids = {client.get("/healthz", headers={"X-Request-ID": "mine"}).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert "mine" not in ids
