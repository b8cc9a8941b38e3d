"""Under load: what is too much is refused at once, the rest is answered, and the loop never stands still."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests import radiographs
from tests.api.conftest import check_problem
from tests.conftest import Serve
from tests.servers import Running


def test_ten_times_overload(serve: Serve) -> None:
    picture = radiographs.png(1500, 1200)
    with serve(max_waiting=1) as running, httpx.Client(base_url=running.url, timeout=60) as client:

        def ask(_: int) -> tuple[httpx.Response, float]:
            started = time.perf_counter()
            return client.post("/predict", content=picture), time.perf_counter() - started

        with ThreadPoolExecutor(20) as many:
            asked = list(many.map(ask, range(60)))
        assert client.get("/readyz").status_code == 200
        assert client.post("/predict", content=picture).status_code == 200
    refused = [(response, took) for response, took in asked if response.status_code == 503]
    answered = [response for response, _ in asked if response.status_code == 200]
    assert len(refused) + len(answered) == len(asked)
    assert answered
    assert refused
    for response, took in refused:
        check_problem(response, 503, "overloaded")
        assert took < 2
    findings = answered[0].json()["findings"]
    assert all(response.json()["findings"] == findings for response in answered)


def test_as_many_as_may_wait_are_all_answered(server: Running) -> None:
    most = server.server.service.settings.max_waiting + 1
    pictures = [radiographs.png(300 + position, 300) for position in range(most)]
    with httpx.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(most) as many:
        asked = list(many.map(lambda data: client.post("/predict?heatmaps=none", content=data), pictures))
    assert [response.status_code for response in asked] == [200] * most
    # Each got its own answer.
    assert [response.json()["image"]["rows"] for response in asked] == [300 + n for n in range(most)]


@pytest.fixture(scope="module")
def large_dicom() -> bytes:
    """60 MB."""
    return radiographs.dicom(5600, 5600)


@pytest.mark.parametrize("form", [False, True])
def test_the_loop_goes_on_while_a_large_image_is_read(
    server: Running, large_dicom: bytes, form: bool
) -> None:
    """The longest wait of others is far below the time that one 60 MB image takes."""
    done = threading.Event()
    waits: list[float] = []

    def probe() -> None:
        with httpx.Client(base_url=server.url) as client:
            while not done.is_set():
                started = time.perf_counter()
                assert client.get("/healthz").status_code == 200
                waits.append(time.perf_counter() - started)
                time.sleep(0.005)

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        sent = {"files": {"file": ("x", large_dicom)}} if form else {"content": large_dicom}
        response = httpx.post(f"{server.url}/predict?heatmaps=all", timeout=60, **sent)
    finally:
        done.set()
        prober.join()
    assert response.status_code == 200
    assert len(waits) > 10
    # A loop that decoded or serialised by itself would hold every one of these up for about a second.
    assert max(waits) < 0.5
