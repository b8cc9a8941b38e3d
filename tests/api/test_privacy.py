"""Nothing of the patient leaves: not in answers, not in problems, not in the log."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Any

import httpx
import pytest

from tests import radiographs
from tests.conftest import Serve

SECRET = "SECRET^NAME"
_ELEMENTS: dict[str, Any] = {
    "PatientName": SECRET,
    "PatientID": "SECRET-ID",
    "PatientBirthDate": "19010203",
    "InstitutionName": "SECRET HOSPITAL",
    "AccessionNumber": "SECRET-ACC",
    "StudyDescription": "SECRET\x1b[31m",
    "ImageComments": "SECRET comment",
}

FILES = {
    "a good one": radiographs.dicom(**_ELEMENTS),
    "a CT": radiographs.dicom(**_ELEMENTS, Modality="CT"),
    "a good one with secret codes": radiographs.dicom(
        **_ELEMENTS, BodyPartExamined="SECRETPART", ViewPosition="SECRETVIEW"
    ),
    "a secret modality": radiographs.dicom(**{**_ELEMENTS, "Modality": "SECRET"}),
    "for processing": radiographs.dicom(**_ELEMENTS, PresentationIntentType="FOR PROCESSING"),
    "a secret photometric interpretation": radiographs.dicom(
        **_ELEMENTS, PhotometricInterpretation="SECRETPI"
    ),
    "cut in the header": radiographs.dicom(**_ELEMENTS)[:600],
    "cut in the pixels": radiographs.dicom(**_ELEMENTS)[:-1000],
    "no DICOM": b"SECRET^NAME 19010203 " * 100,
}


def test_no_patient_data_leaves(
    serve: Serve, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    headers = {"User-Agent": SECRET, "X-Request-ID": SECRET}
    with caplog.at_level(logging.DEBUG), serve() as running:
        for name, data in FILES.items():
            sent = {"file": (f"{SECRET}.dcm", data, "application/dicom; name=SECRET")}
            response = httpx.post(f"{running.url}/predict", files=sent, headers=headers)
            assert (response.status_code == 200) == name.startswith("a good one"), name
            assert not secrets(response.text + str(response.headers)), name
        assert not secrets(httpx.post(f"{running.url}/predict/{SECRET}", content=b"").text)
    captured = capfd.readouterr()
    assert not secrets(captured.out + captured.err)
    # httpx logs the addresses it asks; that is the client's log.
    ours = [each.getMessage() for each in caplog.records if not each.name.startswith(("httpx", "httpcore"))]
    assert len(ours) > len(FILES)
    assert not secrets("".join(ours))


def secrets(told: str) -> list[str]:
    return [secret for secret in ("SECRET", "19010203") if secret in told]


def test_one_audit_line_a_prediction(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = radiographs.jpeg(), b"not an image"
    with caplog.at_level(logging.INFO), serve() as running:
        url = f"{running.url}/predict"
        answers = [httpx.post(url, content=data) for data in (good, bad)]
        answers.append(httpx.post(url, content=good, headers={"Content-Type": "text/html"}))
        answers.append(httpx.post(url, files={"wrong": b"x"}))
        httpx.get(f"{running.url}/docs")
        study = [("file", ("x", good)), ("file", ("y", good))]
        httpx.post(f"{running.url}/predict/study", files=study)
        model = running.server.service.pipeline.predictor.bundle.sha256
    lines = [each.getMessage() for each in caplog.records if each.name == "cxrserve.audit"]
    assert len(lines) == 6
    nothing = "file=- bytes=- sha256=- rows=- columns=- format=-"
    expected = [
        f"status=200 outcome=ok ms=N file=1/1 bytes={len(good)} sha256={hashlib.sha256(good).hexdigest()} "
        f"rows={radiographs.ROWS} columns={radiographs.COLUMNS} format=jpeg model={model}",
        f"status=415 outcome=unsupported-format ms=N file=1/1 bytes={len(bad)} "
        f"sha256={hashlib.sha256(bad).hexdigest()} rows=- columns=- format=- model={model}",
        f"status=415 outcome=unsupported-media-type ms=N {nothing} model={model}",
        f"status=400 outcome=bad-request ms=N {nothing} model={model}",
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    for line, request_id, wanted in zip(lines[:4], ids, expected, strict=True):
        assert re.sub(r"ms=\d+", "ms=N", line) == f"request={request_id} {wanted}"
    assert "file=1/2" in lines[4]
    assert "file=2/2" in lines[5]


def test_one_access_line_a_request_with_the_routes_own_path(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), serve() as running:
        httpx.get(f"{running.url}/problems/x%0Ay?patient=DOE")
        httpx.get(f"{running.url}/DOE%5EJOHN%1b[31m")
        httpx.request("DOE", f"{running.url}/healthz")
        httpx.get(f"{running.url}/healthz")  # answered well, a probe is not worth a line
    lines = [each.getMessage() for each in caplog.records if each.name == "cxrserve.access"]
    assert [line.partition(" request=")[0] for line in lines] == [
        "method=GET path=/problems/{slug}",
        "method=GET path=-",
        "method=- path=/healthz",
    ]
    assert all(re.search(r" request=\S{36} status=\d{3} outcome=\S+ ms=\d+$", line) for line in lines)
