"""A client that goes away: what waits for it is dropped, nobody else notices, and the log says so."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests import radiographs
from tests.api import raw
from tests.conftest import Serve
from tests.scheduling.watched_engines import at_the_gate, sample
from tests.waiting import until


@pytest.mark.parametrize("study", [False, True])
def test_what_nobody_waits_for_is_dropped(
    serve: Serve, chest_jpeg: bytes, caplog: pytest.LogCaptureFixture, study: bool
) -> None:
    part = ('form-data; name="file"; filename="x"', chest_jpeg)
    body = raw.form(part, part) if study else chest_jpeg
    kind = "multipart/form-data; boundary=b" if study else "image/jpeg"
    path = "/predict/study" if study else "/predict"
    with (
        caplog.at_level(logging.INFO),
        serve() as running,
        at_the_gate(running.server.service.pipeline, held=True) as gate,
        ThreadPoolExecutor(1) as threads,
    ):
        metrics = running.server.service.metrics
        staying = threads.submit(httpx.post, f"{running.url}/predict", content=chest_jpeg, timeout=60)
        gate.reached.wait(30)
        with raw.connected(running.port) as leaving:
            head = raw.head(f"Content-Length: {len(body)}", f"Content-Type: {kind}", path=path)
            leaving.sendall(head + body)
            images = 3 if study else 2
            until(lambda: sample(metrics, "cxrserve_queue_depth", size="512") == images)
        until(lambda: sample(metrics, "cxrserve_queue_depth", size="512") == 1)
        until(lambda: sample(metrics, "cxrserve_rejections_total", reason="client-gone") == 1)
        gate.open.set()
        assert staying.result(60).status_code == 200
        assert len(gate.runs) == 1  # the other's scales never ran
        dropped = sample(metrics, "cxrserve_queue_dropped_total", size="64", reason="cancelled")
        assert dropped == images - 1
        assert httpx.post(f"{running.url}/predict", content=chest_jpeg).status_code == 200
    audited = [line.getMessage() for line in caplog.records if line.name == "cxrserve.audit"]
    assert sum("status=499 outcome=client-gone" in line for line in audited) == images - 1


def test_a_client_gone_mid_result_costs_nobody_else(serve: Serve) -> None:
    """It takes the head of a large answer and leaves."""
    picture = radiographs.png(1500, 1200)
    with serve() as running:
        for _ in range(5):
            with raw.connected(running.port) as peer:
                head = raw.head(f"Content-Length: {len(picture)}", path="/predict?heatmaps=all")
                peer.sendall(head + picture)
                assert raw.status(peer) == 200
        assert httpx.post(f"{running.url}/predict", content=picture).status_code == 200
        metrics = running.server.service.metrics
        until(lambda: sample(metrics, "cxrserve_images_inside") == 0)
