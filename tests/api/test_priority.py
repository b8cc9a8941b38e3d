"""`priority=stat` goes before what waits, in the line and in the record."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests import radiographs
from tests.api.conftest import check_problem
from tests.conftest import Serve
from tests.scheduling.watched_engines import at_the_gate, sample
from tests.waiting import until


@pytest.mark.parametrize("path", ["/predict", "/predict/study"])
def test_stat_goes_before_routine(serve: Serve, caplog: pytest.LogCaptureFixture, path: str) -> None:
    films = {
        name: radiographs.png(600 + 100 * number, 500)
        for number, name in enumerate(("first", "routine", "stat"))
    }
    with (
        caplog.at_level(logging.INFO),
        serve(decode_workers=2) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        pipeline, metrics = running.server.service.pipeline, running.server.service.metrics

        def ask(name: str, *, study: bool = False) -> httpx.Response:
            query = f"?heatmaps=none&priority={'stat' if name == 'stat' else 'routine'}"
            if study:
                files = [("file", ("x", films[name])), ("file", ("y", films[name]))]
                return client.post(f"/predict/study{query}", files=files)
            return client.post(f"/predict{query}", content=films[name])

        with at_the_gate(pipeline) as gate:
            for name in films:
                assert ask(name).status_code == 200
            checksums = dict(zip(films, (numbers[0] for _, numbers in gate.runs), strict=True))
        assert len(set(checksums.values())) == 3

        with at_the_gate(pipeline, held=True) as gate, ThreadPoolExecutor(3) as threads:
            asked = [threads.submit(ask, "first")]
            gate.reached.wait(30)
            images = 2 if path.endswith("study") else 1
            for name, waiting in (("routine", 1 + images), ("stat", 1 + 2 * images)):
                asked.append(threads.submit(ask, name, study=path.endswith("study")))
                until(lambda n=waiting: sample(metrics, "cxrserve_queue_depth", size="512") == n)  # type: ignore[misc]
            gate.open.set()
            assert [each.result(60).status_code for each in asked] == [200] * 3
        order = [numbers[0] for _, numbers in gate.runs]
    assert order == [checksums["first"], *[checksums["stat"]] * images, *[checksums["routine"]] * images]
    audited = [line.getMessage() for line in caplog.records if line.name == "cxrserve.audit"]
    assert sum("priority=stat" in line.split() for line in audited) == 1 + images


def test_another_priority_is_refused(client: httpx.Client, chest_jpeg: bytes) -> None:
    answer = client.post("/predict?priority=urgent", content=chest_jpeg)
    assert "priority" in check_problem(answer, 400, "bad-request")
