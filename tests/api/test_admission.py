"""Admission by the expected wait: real uvicorn, real engines, one of them slow or held."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import httpx
import numpy as np
import pytest
from fastapi.routing import APIRoute
from numpy.typing import NDArray

from cxrserve.api import about, dicomweb, predict, studies, triage, viewer
from cxrserve.engines.base import Output
from cxrserve.metrics import Metrics
from tests.api import raw
from tests.api.conftest import check_problem
from tests.conftest import Serve
from tests.scheduling.watched_engines import at_the_gate, sample
from tests.servers import Running
from tests.waiting import until

_IMAGE_S: Final = 0.5  # what an image is made to take, near enough


def _wait_s(metrics: Metrics, priority: str = "routine") -> float:
    return sample(metrics, "cxrserve_expected_wait_seconds", priority=priority)


@dataclass(frozen=True, kw_only=True)
class Busy:
    """A server that has measured `_IMAGE_S`, and whose engines are held with one image.

    Attributes:
        inside: the answers of those that were let in; they come once the block is over.
    """

    running: Running
    metrics: Metrics
    client: httpx.Client
    threads: ThreadPoolExecutor
    inside: list[Future[httpx.Response]]

    def enter(self, body: bytes, path: str = "/predict") -> None:
        """Send `body`; it will wait."""
        count = sample(self.metrics, "cxrserve_images_inside")
        self.inside.append(self.threads.submit(self.client.post, path, content=body))
        until(lambda: sample(self.metrics, "cxrserve_images_inside") > count)


@contextmanager
def _busy(serve: Serve, film: bytes, **settings: object) -> Iterator[Busy]:
    with serve(**settings) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        metrics, pipeline = running.server.service.metrics, running.server.service.pipeline
        engine = pipeline.predictor.engines[64]
        run = engine.run

        def slow(image_N1SS: NDArray[np.uint8]) -> Output:
            time.sleep(_IMAGE_S)
            return run(image_N1SS)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "run", slow)
            assert client.post("/predict", content=film).is_success  # the first measurement counts alone
        with ThreadPoolExecutor(8) as threads, at_the_gate(pipeline, held=True) as gate:
            busy = Busy(running=running, metrics=metrics, client=client, threads=threads, inside=[])
            busy.enter(film)
            gate.reached.wait(30)
            until(lambda: _wait_s(metrics) < _IMAGE_S / 4)  # its time would be over; it is held
            yield busy
            gate.open.set()
            assert [each.result(60).status_code for each in busy.inside] == [200] * len(busy.inside)


def test_who_would_wait_too_long_is_refused_before_it_sends(serve: Serve, chest_jpeg: bytes) -> None:
    with _busy(serve, chest_jpeg, max_wait_s=0.75) as busy:
        busy.enter(chest_jpeg)
        busy.enter(chest_jpeg)  # it would wait for one
        assert 2 * _IMAGE_S <= _wait_s(busy.metrics) < 4 * _IMAGE_S
        started = time.perf_counter()
        with raw.connected(busy.running.port) as peer:
            peer.sendall(raw.head("Content-Length: 1000000"))
            assert raw.status(peer) == 503
        assert time.perf_counter() - started < 0.5
        refused = busy.client.post("/predict", content=chest_jpeg)
        detail = check_problem(refused, 503, "queue-too-long")
        assert "CXRSERVE_MAX_WAIT_S" in detail
        assert "0.75 s" in detail
        assert refused.headers["retry-after"] == "1"
        for path in ("/triage", "/predict/study"):
            check_problem(busy.client.post(path, content=chest_jpeg), 503, "queue-too-long")
        # Counted once the answer is out: a client may have read it before.
        until(lambda: sample(busy.metrics, "cxrserve_rejections_total", reason="queue-too-long") == 4)
        # Both are inside at once; each reaches the engines' queue once it is decoded and checked.
        until(lambda: sample(busy.metrics, "cxrserve_queue_depth", size="64") == 2)


def test_retry_after_is_the_time_until_there_is_room(serve: Serve, chest_jpeg: bytes) -> None:
    with _busy(serve, chest_jpeg, max_wait_s=1.8) as busy:
        for _ in range(4):
            busy.enter(chest_jpeg)
        assert int(busy.client.post("/predict", content=chest_jpeg).headers["retry-after"]) == 1
        pipeline = busy.running.server.service.pipeline
        with ExitStack() as archive:  # what has a line of its own is never refused, and counts for the others
            for _ in range(6):
                archive.enter_context(pipeline.admit())
            seconds = int(busy.client.post("/predict", content=chest_jpeg).headers["retry-after"])
            assert _wait_s(busy.metrics) - 1.8 <= seconds < _wait_s(busy.metrics) - 0.8


def test_stat_sees_only_the_stat_line(serve: Serve, chest_jpeg: bytes) -> None:
    with _busy(serve, chest_jpeg, max_wait_s=0.75) as busy:
        busy.enter(chest_jpeg)
        busy.enter(chest_jpeg)
        assert _wait_s(busy.metrics, "stat") < _IMAGE_S / 4
        check_problem(busy.client.post("/predict", content=chest_jpeg), 503, "queue-too-long")
        stat = "/predict?priority=stat"
        busy.enter(chest_jpeg, stat)
        busy.enter(chest_jpeg, stat)
        assert _wait_s(busy.metrics, "stat") >= 2 * _IMAGE_S
        check_problem(busy.client.post(stat, content=chest_jpeg), 503, "queue-too-long")


def test_an_upload_on_its_way_counts_for_a_second(serve: Serve, chest_jpeg: bytes) -> None:
    """Then its place is given up, and it asks again when it is whole: before it is decoded."""
    head = raw.head(f"Content-Length: {len(chest_jpeg)}", path="/predict")
    with _busy(serve, chest_jpeg, max_wait_s=0.75) as busy, ExitStack() as open_:
        slow = [open_.enter_context(raw.connected(busy.running.port)) for _ in range(2)]
        for peer in slow:
            peer.sendall(head)
        until(lambda: _wait_s(busy.metrics) >= 2 * _IMAGE_S)
        check_problem(busy.client.post("/predict", content=chest_jpeg), 503, "queue-too-long")
        until(lambda: _wait_s(busy.metrics) < _IMAGE_S / 4)
        busy.enter(chest_jpeg)
        slow[0].sendall(chest_jpeg)  # late, but there is room
        until(lambda: sample(busy.metrics, "cxrserve_images_inside") == 3)
        decoded = sample(busy.metrics, "cxrserve_stage_seconds_count", stage="decode")
        slow[1].sendall(chest_jpeg)
        assert raw.status(slow[1]) == 503
        assert sample(busy.metrics, "cxrserve_stage_seconds_count", stage="decode") <= decoded + 1
        assert sample(busy.metrics, "cxrserve_images_inside") == 3


def test_who_goes_away_while_sending_gives_its_place_up(serve: Serve, chest_jpeg: bytes) -> None:
    with _busy(serve, chest_jpeg, max_wait_s=0.75) as busy:
        for _ in range(5):
            with raw.connected(busy.running.port) as peer:
                peer.sendall(raw.head("Content-Length: 1000", path="/predict"))
                until(lambda: _wait_s(busy.metrics) >= _IMAGE_S)
            until(lambda: _wait_s(busy.metrics) < _IMAGE_S / 4, timeout_s=0.9)


def test_a_study_that_was_let_in_is_read_whole(serve: Serve, chest_jpeg: bytes) -> None:
    """Its images are no reason to refuse its images."""
    with _busy(serve, chest_jpeg, max_wait_s=0.3) as busy:
        files = [("file", (str(number), chest_jpeg)) for number in range(6)]
        busy.inside.append(busy.threads.submit(busy.client.post, "/predict/study", files=files))
        until(lambda: sample(busy.metrics, "cxrserve_images_inside") >= 3)
        check_problem(busy.client.post("/predict", content=chest_jpeg), 503, "queue-too-long")
    assert len(busy.inside[1].result().json()["images"]) == 6


def test_an_idle_service_refuses_nobody(serve: Serve, chest_jpeg: bytes) -> None:
    """However tight the limit, and whatever a warm-up said."""
    with serve(max_wait_s=1e-6) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        for _ in range(3):
            assert client.post("/predict", content=chest_jpeg).status_code == 200


def test_no_refusal_waits_for_a_thread() -> None:
    """What a route depends on runs on the loop: FastAPI sends plain functions through a thread each time."""
    routers = [each.router for each in (about, dicomweb, predict, studies, triage, viewer)]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert {"/predict", "/triage", "/healthz"} <= {route.path for route in routes}
    for route in routes:
        left = [*route.dependant.dependencies]
        while left:
            dependency = left.pop()
            assert inspect.iscoroutinefunction(dependency.call), (route.path, dependency.call)
            left += dependency.dependencies
