"""The forms of an answer: a picture, FHIR, contours; its other name; request ids; other sites; gzip."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid

import httpx
import numpy as np
import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from PIL import Image

from cxrserve.api.app import create_app
from cxrserve.findings import NAMES
from tests.api.conftest import check_problem
from tests.conftest import MakeSettings, Serve
from tests.waiting import until

POSITIVE, NEGATIVE = NAMES[0], NAMES[1]  # of the tiny bundle


@pytest.mark.parametrize(
    "accept", ["image/png", "image/*", "application/json;q=0.5, image/png", "*/*, image/png"]
)
def test_a_picture_shows_the_finding_that_was_named(
    client: httpx.Client, chest_jpeg: bytes, accept: str
) -> None:
    response = client.post(
        "/predict", params={"heatmaps": NEGATIVE}, content=chest_jpeg, headers={"Accept": accept}
    )
    assert response.headers["content-type"] == "image/png", response.text
    with Image.open(io.BytesIO(response.content)) as picture:
        assert picture.mode == "RGB"
        pixels = np.asarray(picture).astype(int)
    assert (np.ptp(pixels, axis=2) > 5).any(), "the heatmap has colours"


def test_without_a_name_the_picture_shows_the_most_urgent_finding(
    client: httpx.Client, chest_jpeg: bytes
) -> None:
    findings = client.post("/predict", content=chest_jpeg).json()["findings"]
    positive = {finding["finding"] for finding in findings if finding["positive"]}
    urgent = "Pneumothorax" if "Pneumothorax" in positive else "Edema"
    assert urgent in positive
    pictures = [
        client.post("/predict", params={"accept": "png", "heatmaps": heatmaps}, content=chest_jpeg).content
        for heatmaps in ("positive", "all", urgent)
    ]
    assert len(set(pictures)) == 1


def test_a_picture_of_several_findings_is_refused(client: httpx.Client, chest_jpeg: bytes) -> None:
    for heatmaps in ("none", f"{POSITIVE},{NEGATIVE}"):
        response = client.post("/predict", params={"accept": "png", "heatmaps": heatmaps}, content=chest_jpeg)
        assert "shows one finding" in check_problem(response, 400, "bad-request")
    study = client.post("/predict/study?accept=png", files=[("file", chest_jpeg)] * 2)
    check_problem(study, 406, "not-acceptable")


def test_fhir_is_a_report_of_all_findings(client: httpx.Client, chest_dicom: bytes) -> None:
    response = client.post(
        "/predict", content=chest_dicom, headers={"Accept": "application/fhir+json; q=0.9"}
    )
    assert response.headers["content-type"] == "application/fhir+json", response.text
    report = DiagnosticReport.model_validate_json(response.content)
    assert len(report.result or ()) == len(NAMES)
    study = client.post("/predict/study?accept=fhir", files=[("file", chest_dicom)] * 2)
    assert study.headers["content-type"] == "application/fhir+json", study.text


def test_fhir_of_a_jpeg_is_refused(client: httpx.Client, chest_jpeg: bytes) -> None:
    check_problem(client.post("/predict?accept=fhir", content=chest_jpeg), 406, "not-acceptable")


def test_contours_are_closed_polygons_within_the_image(client: httpx.Client, chest_jpeg: bytes) -> None:
    plain = client.post("/predict?heatmaps=all", content=chest_jpeg).json()
    assert all(finding["contours"] is None for finding in plain["findings"])
    answer = client.post("/predict?heatmaps=all&contours=true", content=chest_jpeg).json()
    polygons = [contour for finding in answer["findings"] for contour in finding["contours"]]
    assert polygons, "no heatmap of the tiny bundle has a place"
    for polygon in polygons:
        assert polygon["points"][0] == polygon["points"][-1]
        points = np.array(polygon["points"])
        assert (points >= 0).all()
        assert (points <= [answer["image"]["columns"], answer["image"]["rows"]]).all()
        assert 0 < polygon["share"] <= 1


def test_paths_have_a_name_with_the_version(client: httpx.Client, chest_jpeg: bytes) -> None:
    assert client.get("/v1/model").json()["name"] == "tiny"
    answer = client.post("/v1/predict?heatmaps=none", content=chest_jpeg).json()
    assert len(answer["findings"]) == len(NAMES)
    check_problem(client.get("/v1/metrics"), 404, "not-found")
    check_problem(client.get("/v1/v1/model"), 404, "not-found")


def test_the_version_does_not_go_around_a_scope(serve: Serve, chest_jpeg: bytes) -> None:
    with serve(token="open-sesame-open-sesame", decode_workers=1) as guarded:
        for path in ("/v1/predict", "/v1/display"):
            check_problem(httpx.post(guarded.url + path, content=chest_jpeg), 401, "unauthorized")


def test_ids_of_the_client_are_in_the_answer_and_the_log(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    own, trace = str(uuid.uuid4()), "0af7651916cd43dd8448eb211c80319c"
    headers = {"X-Request-ID": own.upper(), "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    with caplog.at_level(logging.INFO, "cxrserve.access"):
        response = client.get("/nothing", headers=headers)
        line = until(lambda: next((text for text in caplog.messages if own in text), None))
    assert response.headers["x-request-id"] == own
    assert response.json()["instance"] == f"urn:uuid:{own}"
    assert f"trace={trace}" in line
    for bad in ("1", "x" * 36, f"{own} status=200"):
        answer = client.get(
            "/nothing", headers={"X-Request-ID": bad, "traceparent": f"00-{'0' * 32}-{bad}-01"}
        )
        assert str(uuid.UUID(answer.headers["x-request-id"])) != own


def test_pages_of_other_sites_need_a_setting(serve: Serve, client: httpx.Client, chest_jpeg: bytes) -> None:
    page = {"Origin": "https://viewer.example.org"}
    check_problem(client.post("/predict", content=chest_jpeg, headers=page), 403, "forbidden")
    assert "access-control-allow-origin" not in client.get("/healthz", headers=page).headers
    with serve(cors_origins="https://viewer.example.org,http://localhost:3000", decode_workers=1) as open_to:
        asked = {**page, "Access-Control-Request-Method": "POST"}
        preflight = httpx.options(f"{open_to.url}/predict", headers=asked)
        assert preflight.headers["access-control-allow-origin"] == page["Origin"]
        url = f"{open_to.url}/predict?heatmaps=none"
        answer = httpx.post(url, content=chest_jpeg, headers=page, timeout=60)
        assert answer.headers["access-control-allow-origin"] == page["Origin"]
        assert "access-control-allow-credentials" not in answer.headers
        other = httpx.post(url, content=chest_jpeg, headers={"Origin": "https://example.com"})
        check_problem(other, 403, "forbidden")
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origins", ["*", "viewer.example.org", "https://a.example, https://b.example"])
def test_origins_that_no_browser_sends_are_refused(make_settings: MakeSettings, origins: str) -> None:
    with pytest.raises(ValueError, match="cors_origins"):
        make_settings(cors_origins=origins)


def test_text_for_another_machine_is_packed(make_settings: MakeSettings) -> None:
    app = create_app(make_settings())

    async def fetched(address: str, coding: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=app, client=(address, 4000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/viewer/js/main.js", headers={"Accept-Encoding": coding})

    far = asyncio.run(fetched("203.0.113.9", "gzip, br"))
    near = asyncio.run(fetched("127.0.0.1", "gzip"))
    plain = asyncio.run(fetched("203.0.113.9", "identity"))
    assert far.headers["content-encoding"] == "gzip"
    assert int(far.headers["content-length"]) < len(far.content) / 2
    assert far.content == near.content == plain.content
    assert "content-encoding" not in {**near.headers, **plain.headers}
    assert json.dumps(far.headers["vary"]) == '"Accept-Encoding"'
