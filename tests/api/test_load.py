"""Under load: what is too much is refused at once, the rest is answered, and the loop never stands still."""

from __future__ import annotations

import shutil
import signal
import statistics
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.engines.base import Output
from tests import radiographs
from tests.api.conftest import check_problem
from tests.api.test_start import started
from tests.bundles import write_tiny_bundle
from tests.conftest import Serve
from tests.scheduling.watched_engines import at_the_gate, sample
from tests.servers import Running
from tests.waiting import until


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
    """From two addresses: bodies of one may take half of the places, and the half is rounded up."""
    most = server.server.service.settings.max_waiting + 1
    pictures = [radiographs.png(300 + position, 300) for position in range(most)]
    transports = [httpx.HTTPTransport(local_address=f"127.0.0.{host}") for host in (1, 2)]
    with (
        httpx.Client(transport=transports[0], base_url=server.url, timeout=60) as first,
        httpx.Client(transport=transports[1], base_url=server.url, timeout=60) as second,
        ThreadPoolExecutor(most) as many,
    ):
        clients = [(first, second)[position % 2] for position in range(most)]
        asked = list(
            many.map(
                lambda client, data: client.post("/predict?heatmaps=none", content=data), clients, pictures
            )
        )
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
        started = time.perf_counter()
        response = httpx.post(f"{server.url}/predict?heatmaps=all", timeout=60, **sent)
        image_s = time.perf_counter() - started
    finally:
        done.set()
        prober.join()
    assert response.status_code == 200
    assert len(waits) > 10
    # A loop that decoded or serialised by itself would hold one up nearly as long as the image takes.
    assert max(waits) < image_s / 3


def test_more_than_it_takes_is_refused_within_50_ms(serve: Serve, chest_jpeg: bytes) -> None:
    """However busy the engines are, and however large what is refused; and it says when to come again."""
    large = radiographs.dicom(1800, 1800)
    with (
        serve(max_waiting=1) as running,
        at_the_gate(running.server.service.pipeline, held=True) as gate,
        ThreadPoolExecutor(2) as threads,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        inside = [threads.submit(httpx.post, f"{running.url}/predict", content=chest_jpeg) for _ in range(2)]
        metrics = running.server.service.metrics
        until(lambda: sample(metrics, "cxrserve_images_inside") == 2)
        took: list[float] = []
        idle: list[float] = []  # what the machine needs for any answer at all, busy as it may be
        for _ in range(21):
            started = time.perf_counter()
            refused = client.post("/predict", content=large)
            took.append(time.perf_counter() - started)
            started = time.perf_counter()
            assert client.get("/healthz").is_success
            idle.append(time.perf_counter() - started)
            check_problem(refused, 503, "overloaded")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        gate.open.set()
        assert [each.result(60).status_code for each in inside] == [200, 200]
    assert statistics.median(took) < 0.05 + 2 * statistics.median(idle)


def test_retry_after_is_what_those_inside_will_take(serve: Serve, chest_jpeg: bytes) -> None:
    """Measured: slow engines make it longer."""
    with serve(max_waiting=2) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        pipeline = running.server.service.pipeline
        assert pipeline.admission.retry_after_s(3) == 1
        engine = pipeline.predictor.engines[64]
        run = engine.run

        def slow(image_N1SS: NDArray[np.uint8]) -> Output:
            time.sleep(1)
            return run(image_N1SS)

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as threads:
            patch.setattr(engine, "run", slow)
            for _ in range(2):
                assert client.post("/predict", content=chest_jpeg).status_code == 200
            # The first measurements count alike, and the warm-up's no more.
            assert 10 <= pipeline.admission.retry_after_s(10) <= 15
            inside = [threads.submit(httpx.post, f"{running.url}/predict", content=chest_jpeg) for _ in "abc"]
            until(lambda: sample(running.server.service.metrics, "cxrserve_images_inside") == 3)
            refused = client.post("/predict", content=chest_jpeg)
            check_problem(refused, 503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 2
            assert all(each.result(60).status_code == 200 for each in inside)


def test_what_could_not_be_answered_in_time_is_refused_at_once(serve: Serve, chest_jpeg: bytes) -> None:
    """Not taken in and dropped when its time is over; a stat request may still go before the rest."""
    with serve(request_timeout_s=2.0) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        engine = running.server.service.pipeline.predictor.engines[64]
        run = engine.run

        def slow(image_N1SS: NDArray[np.uint8]) -> Output:
            time.sleep(0.8)
            return run(image_N1SS)

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as threads:
            patch.setattr(engine, "run", slow)
            for _ in range(5):  # it learns that an image takes more than half a second
                assert client.post("/predict", content=chest_jpeg).status_code == 200
            metrics = running.server.service.metrics
            inside = [threads.submit(httpx.post, f"{running.url}/predict", content=chest_jpeg) for _ in "ab"]
            until(lambda: sample(metrics, "cxrserve_images_inside") == 2)
            detail = check_problem(client.post("/predict", content=chest_jpeg), 503, "queue-too-long")
            assert "REQUEST_TIMEOUT_S" in detail
            assert client.post("/predict?priority=stat", content=chest_jpeg).status_code != 503
            assert {each.result(60).status_code for each in inside} <= {200, 504}


def test_a_bundle_replaced_while_serving_changes_nothing(
    serve: Serve, tiny_bundle: Path, tmp_path: Path, chest_jpeg: bytes
) -> None:
    """What was verified at start is what serves, whatever becomes of the folder."""
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    with serve(bundle=bundle) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        model, before = client.get("/model").json(), client.post("/predict", content=chest_jpeg).json()
        write_tiny_bundle(bundle, seed=7)
        replaced = client.post("/predict", content=chest_jpeg).json()
        shutil.rmtree(bundle)
        removed = client.post("/predict", content=chest_jpeg).json()
        assert client.get("/model").json() == model
    assert replaced["findings"] == removed["findings"] == before["findings"]
    assert replaced["model"] == removed["model"] == before["model"]


def test_a_score_that_is_no_number_is_no_answer(
    serve: Serve, chest_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serve() as running, httpx.Client(base_url=running.url, timeout=60) as client:
        engine = running.server.service.pipeline.predictor.engines[64]
        run = engine.run
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                engine, "run", lambda image: replace(run(image), logits_NF=np.full((1, 14), np.nan))
            )
            check_problem(client.post("/predict", content=chest_jpeg), 500, "internal-error")
        assert client.post("/predict", content=chest_jpeg).status_code == 200
    assert "not a number" in caplog.text


def _figure(told: str, name: str) -> float:
    lines = [line for line in told.splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def test_sigterm_under_load_finishes_what_was_accepted(tiny_bundle: Path) -> None:
    picture = radiographs.png(2600, 2200)
    with started(tiny_bundle) as process, ThreadPoolExecutor(8) as threads:
        assert process.stdout is not None
        url = process.stdout.readline().split()[5]
        asked: list[Future[httpx.Response]] = []

        def inside_once_all_are_accepted() -> float:
            """Images inside, read together with the answers; on a slow machine none may be left by then."""
            inside = -1.0

            def all_accepted() -> bool:
                nonlocal inside
                told = httpx.get(f"{url}/metrics", timeout=30).text
                inside = _figure(told, "cxrserve_images_inside")
                answered = _figure(told, 'cxrserve_requests_total{path="/predict",status="200"}')
                return inside + answered == len(asked)

            until(all_accepted)
            return inside

        inside = 0.0
        while inside == 0 and len(asked) < 80:
            asked += [
                threads.submit(httpx.post, f"{url}/predict", content=picture, timeout=60) for _ in range(8)
            ]
            inside = inside_once_all_are_accepted()
        process.terminate()
        assert inside > 0
        assert [each.result(60).status_code for each in asked] == [200] * len(asked)
        process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)
