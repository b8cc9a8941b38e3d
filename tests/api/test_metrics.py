"""GET /metrics: what dashboards rely on, and nothing that a user has sent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.api.conftest import check_problem
from tests.conftest import MakeSettings, Serve
from tests.scheduling.watched_engines import at_the_gate
from tests.servers import running as running_server
from tests.waiting import until

SIZES = ("64", "128", "256", "512")
STAGES = {"decode", "pyramid", "stack", "heatmaps", "drawing", *(f"engine_{size}" for size in SIZES)}


def _scraped(client: httpx.Client) -> list[Sample]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]


def _value(samples: Iterable[Sample], name: str, **labels: str) -> float:
    return sum(
        sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_a_prediction_is_measured_at_every_stage(serve: Serve, chest_jpeg: bytes) -> None:
    with serve() as running, httpx.Client(base_url=running.url, timeout=60) as client:
        for priority in ("routine", "stat"):
            assert client.post(f"/predict?heatmaps=all&priority={priority}", content=chest_jpeg).is_success
        assert client.post("/predict", content=b"no image").status_code == 415
        found = _scraped(client)
        model = client.get("/model").json()
    for stage in STAGES:
        assert _value(found, "cxrserve_stage_seconds_count", stage=stage) == 2, stage
        assert _value(found, "cxrserve_stage_seconds_sum", stage=stage) > 0, stage
    for size in SIZES:
        assert _value(found, "cxrserve_queue_depth", size=size) == 0
        assert _value(found, "cxrserve_batch_images_count", size=size) == 2
        assert _value(found, "cxrserve_batch_images_sum", size=size) == 2
        for priority in ("routine", "stat"):
            assert _value(found, "cxrserve_queue_wait_seconds_count", size=size, priority=priority) == 1
    assert _value(found, "cxrserve_engine_busy_seconds_total", device="0") > 0
    assert _value(found, "cxrserve_images_inside") == 0
    assert _value(found, "cxrserve_requests_total", path="/predict", status="200") == 2
    assert _value(found, "cxrserve_requests_total", path="/predict", status="415") == 1
    assert _value(found, "cxrserve_request_seconds_count", path="/predict") == 3
    assert _value(found, "cxrserve_rejections_total", reason="unsupported-format") == 1
    assert _value(found, "process_resident_memory_bytes") > 0
    [build] = [sample.labels for sample in found if sample.name == "cxrserve_build_info"]
    assert build["bundle"] == "tiny"
    assert build["bundle_version"] == "1.0.0"
    assert build["bundle_sha256"] == model["sha256"]
    assert build["engine"] == model["engine"]["name"]
    assert build["precision"] == model["engine"]["precision"]


def test_rejections_are_counted_by_reason(serve: Serve, chest_jpeg: bytes) -> None:
    with (
        serve(max_waiting=0, request_timeout_s=5) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
        at_the_gate(running.server.service.pipeline, held=True) as gate,
        ThreadPoolExecutor(1) as threads,
    ):
        late = threads.submit(client.post, "/predict", content=chest_jpeg)
        gate.reached.wait(30)
        check_problem(client.post("/predict", content=chest_jpeg), 503, "overloaded")
        check_problem(late.result(30), 504, "deadline-exceeded")
        found = _scraped(client)
    for reason in ("overloaded", "deadline-exceeded"):
        assert _value(found, "cxrserve_rejections_total", reason=reason) == 1


def test_a_decode_worker_that_dies_is_counted_and_replaced(serve: Serve, chest_jpeg: bytes) -> None:
    with serve() as running, httpx.Client(base_url=running.url, timeout=60) as client:
        pipeline = running.server.service.pipeline
        [worker] = pipeline.worker_pids()
        os.kill(worker, signal.SIGABRT)
        until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        assert client.post("/predict", content=chest_jpeg).status_code == 200
        assert pipeline.worker_pids() != (worker,)
        assert _value(_scraped(client), "cxrserve_decode_workers_restarted_total") == 1


def test_no_label_comes_from_a_user(serve: Serve, chest_jpeg: bytes) -> None:
    with serve() as running, httpx.Client(base_url=running.url, timeout=60) as client:
        client.post("/SECRET", content=b"SECRET")
        client.get("/problems/SECRET")
        client.request("SECRET", "/predict?heatmaps=SECRET&priority=SECRET")
        client.post("/predict?SECRET=SECRET", content=chest_jpeg, headers={"X-Request-ID": "SECRET"})
        told = client.get("/metrics").text
    assert "SECRET" not in told
    assert 'path="none"' in told
    assert 'path="/problems/{slug}"' in told


def test_each_application_counts_for_itself(serve: Serve, chest_jpeg: bytes) -> None:
    with serve() as one, serve() as other:
        assert httpx.post(f"{one.url}/predict", content=chest_jpeg).is_success
        with httpx.Client(base_url=other.url) as client:
            assert _value(_scraped(client), "cxrserve_requests_total", path="/predict") == 0


def test_it_answers_before_the_model_is_loaded(make_settings: MakeSettings) -> None:
    with (
        running_server(make_settings(), until_ready=False) as starting,
        httpx.Client(base_url=starting.url) as client,
    ):
        assert _value(_scraped(client), "process_resident_memory_bytes") > 0
