"""Every refusal has its status, its kind, and a detail that says what to do."""

from __future__ import annotations

import time
from contextlib import closing

import httpx
import pytest

from cxrserve.api.problems import catalogue
from tests import radiographs
from tests.api import raw
from tests.api.conftest import check_problem
from tests.conftest import Serve
from tests.servers import Running


def test_400_for_parameters_and_forms(client: httpx.Client, chest_jpeg: bytes) -> None:
    unknown = client.post("/predict", content=chest_jpeg, params={"heatmap": "SECRET"})
    assert "heatmap" in check_problem(unknown, 400, "bad-request")
    assert "SECRET" not in unknown.text
    check_problem(client.post("/predict", content=b""), 400, "bad-request")
    check_problem(client.post("/predict", files={"file": ("empty", b"")}), 400, "bad-request")
    misnamed = client.post("/predict", files={"image": ("x", chest_jpeg)})
    assert "`file`" in check_problem(misnamed, 400, "bad-request")
    two = client.post("/predict", files=[("file", ("a", chest_jpeg)), ("file", ("b", chest_jpeg))])
    assert "/predict/study" in check_problem(two, 400, "bad-request")
    for content_type in ("multipart/form-data", 'multipart/form-data; boundary=""', f"{raw.FORM[14:]}"):
        response = client.post("/predict", content=b"--a\r\n", headers={"Content-Type": content_type})
        check_problem(response, 400, "bad-request")


def test_404_and_405(client: httpx.Client) -> None:
    check_problem(client.get("/patients/DOE^JOHN"), 404, "not-found")
    check_problem(client.get("/problems/nothing"), 404, "not-found")
    response = client.get("/predict")
    check_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "application/json",
        "image/tiff",
        "multipart/related; boundary=b",
        "nonsense",
        "text/\x1b[31mred",
    ],
)
def test_415_names_what_is_taken(client: httpx.Client, chest_jpeg: bytes, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = client.post("/predict", content=chest_jpeg, headers=headers)
    if "\x1b" in content_type:  # not a field value at all (RFC 9110, 5.5)
        assert response.status_code in (400, 415)
        assert "\x1b" not in response.text
        return
    detail = check_problem(response, 415, "unsupported-media-type")
    assert "application/dicom" in detail
    assert "image/jpeg" in response.headers["accept"]


@pytest.mark.parametrize(
    "data", [b"GIF89a" + bytes(500), b"\x89PN", b"MZ" + bytes(500), b"hello", bytes(200)]
)
def test_415_for_other_files(client: httpx.Client, data: bytes) -> None:
    check_problem(client.post("/predict", content=data), 415, "unsupported-format")


def test_415_for_a_compressed_body(client: httpx.Client, chest_jpeg: bytes) -> None:
    for coding in ("gzip", "br", "gzip, gzip"):
        response = client.post("/predict", content=chest_jpeg, headers={"Content-Encoding": coding})
        check_problem(response, 415, "unsupported-media-type")
        assert response.headers["accept-encoding"] == "identity"
    identity = client.post("/predict", content=chest_jpeg, headers={"Content-Encoding": "identity"})
    assert identity.status_code == 200


def test_422_for_images_that_cannot_be_judged(client: httpx.Client) -> None:
    def refused(data: bytes, slug: str) -> None:
        check_problem(client.post("/predict", content=data), 422, slug)

    refused(radiographs.png()[:3000], "unreadable-image")
    refused(
        radiographs.dicom(Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "not-a-chest-radiograph"
    )
    refused(radiographs.dicom(PresentationIntentType="FOR PROCESSING"), "not-for-presentation")


def test_413_from_the_length_announced_and_from_the_stream(serve: Serve, chest_jpeg: bytes) -> None:
    with serve(max_upload_bytes=len(chest_jpeg)) as running:
        url = f"{running.url}/predict?heatmaps=none"
        assert httpx.post(url, content=chest_jpeg).status_code == 200
        assert httpx.post(url, files={"file": ("x", chest_jpeg)}).status_code == 200
        check_problem(httpx.post(url, content=chest_jpeg + b"\0"), 413, "too-large")
        check_problem(httpx.post(url, content=iter([chest_jpeg, b"\0"])), 413, "too-large")
        check_problem(httpx.post(url, files={"file": ("x", chest_jpeg + b"\0")}), 413, "too-large")
        # Not a byte of the body is awaited.
        assert raw.asked(running.port, raw.head("Content-Length: 4294967296")) == 413
        assert raw.asked(running.port, raw.head(raw.FORM, "Content-Length: 4294967296")) == 413


def test_408_for_slow_bodies_and_slow_headers(serve: Serve, chest_jpeg: bytes) -> None:
    with serve(upload_timeout_s=0.5) as running:
        idle = raw.asked(running.port, raw.head(f"Content-Length: {len(chest_jpeg)}") + chest_jpeg[:100])
        assert idle == 408
        assert trickled(running, raw.head(f"Content-Length: {len(chest_jpeg)}"), chest_jpeg) == 408
        assert trickled(running, b"POST /predict HTTP/1.1\r\n", b"X-A: b\r\n" * 1000) == 408
        with raw.connected(running.port) as peer:  # nothing at all: ended without a word
            assert raw.rest(peer) == b""
        assert httpx.post(f"{running.url}/predict", content=chest_jpeg).status_code == 200


def trickled(running: Running, first: bytes, data: bytes) -> int:
    """The status that interrupts a client that sends `data` byte by byte, 50 of them a second."""
    with raw.connected(running.port, timeout_s=0.02) as peer:
        peer.sendall(first)
        until = time.monotonic() + 20
        for position in range(len(data)):
            assert time.monotonic() < until, "nobody stops this client"
            try:
                peer.sendall(data[position : position + 1])
                return raw.status(peer)
            except TimeoutError:
                continue
    raise AssertionError("all of it was taken")


def test_503_while_all_places_are_taken(serve: Serve, chest_jpeg: bytes) -> None:
    with serve(max_waiting=0) as running, raw.connected(running.port) as slow:
        slow.sendall(raw.head(f"Content-Length: {len(chest_jpeg)}") + chest_jpeg[:100])
        wait_until_refused(running, chest_jpeg)
        started = time.perf_counter()
        check_problem(httpx.post(f"{running.url}/predict", content=chest_jpeg), 503, "overloaded")
        assert time.perf_counter() - started < 2
        assert httpx.get(f"{running.url}/healthz").status_code == 200
        slow.sendall(chest_jpeg[100:])
        assert raw.status(slow) == 200
        assert httpx.post(f"{running.url}/predict", content=chest_jpeg).status_code == 200


def wait_until_refused(running: Running, data: bytes) -> None:
    until = time.monotonic() + 10
    while httpx.post(f"{running.url}/predict", content=data).status_code != 503:
        assert time.monotonic() < until, "the slow upload takes no place"


def test_504_where_the_answer_is_late(serve: Serve) -> None:
    large = radiographs.dicom(3000, 3000)
    with serve(request_timeout_s=0.01) as running:
        check_problem(httpx.post(f"{running.url}/predict", content=large), 504, "deadline-exceeded")
        assert httpx.get(f"{running.url}/healthz").status_code == 200


def test_500_says_nothing_of_the_inside(
    serve: Serve, chest_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serve() as running:
        # A predictor without its weights: as broken as can be, without a mock.
        del running.server.service.pipeline.predictor.weights_FS
        with closing(httpx.Client()) as client:
            response = client.post(f"{running.url}/predict", content=chest_jpeg)
            detail = check_problem(response, 500, "internal-error")
            assert "AttributeError" not in response.text
            assert "log" in detail
            assert client.get(f"{running.url}/healthz").status_code == 200
    [line] = [each for each in caplog.messages if "AttributeError" in each]
    assert response.headers["x-request-id"] in line
    assert "predictor.py" in line
    assert "AttributeError: " not in caplog.text  # an exception's message may quote the file it choked on


@pytest.mark.parametrize("slug", sorted(catalogue()))
def test_every_kind_of_problem_has_its_page(client: httpx.Client, slug: str) -> None:
    response = client.get(f"/problems/{slug}")
    status, title, _ = catalogue()[slug]
    assert response.status_code == 200
    assert str(status) in response.text
    assert title in response.text
