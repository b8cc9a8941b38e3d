"""The client against a running service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cxrserve.client import AsyncClient, Client, ServiceError, heatmap_values
from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from tests.conftest import Serve
from tests.servers import Running


@pytest.fixture(scope="module")
def service(serve: Serve) -> Iterator[Running]:
    with serve(max_waiting=32, decode_workers=2) as started:
        yield started


def test_an_answer_has_types_and_its_heatmap_is_an_array(service: Running, chest_jpeg: bytes) -> None:
    with Client(service.url) as client:
        answer = client.predict(chest_jpeg, heatmaps="Atelectasis", scales="maps")
    assert [finding.finding for finding in answer.findings] == list(NAMES)
    report = answer.findings[0].heatmap
    assert report is not None
    values_HW = heatmap_values(answer, "atelectasis")
    assert values_HW.shape == (report.height, report.width)
    assert values_HW.dtype == np.float32
    assert values_HW.max() == pytest.approx(min(report.max, report.scale), rel=0.02)
    assert heatmap_values(answer, "Atelectasis", scale=answer.findings[0].scales[0].size).ndim == 2
    with pytest.raises(RequestError, match="heatmaps='Cardiomegaly'"):
        heatmap_values(answer, "Cardiomegaly")


def test_many_images_keep_their_order_and_a_bad_one_stops_nothing(
    service: Running, chest_jpeg: bytes, tmp_path: Path
) -> None:
    film = tmp_path / "film.jpg"
    film.write_bytes(chest_jpeg)
    images: list[str | Path | bytes] = [film, b"no radiograph", str(film), chest_jpeg]
    with Client(service.url) as client:
        results = list(client.predict_many(images, window=2))

    async def all_of_them() -> list[bool]:
        async with AsyncClient(service.url) as asynchronous:
            return [each.answer is not None async for each in asynchronous.predict_many(images, window=2)]

    assert [result.image for result in results] == images
    assert [result.answer is not None for result in results] == [True, False, True, True]
    error = results[1].error
    assert error is not None
    assert error.status == 415
    assert asyncio.run(all_of_them()) == [True, False, True, True]


def test_the_token_is_sent(serve: Serve, chest_jpeg: bytes) -> None:
    with serve(token="open-sesame-open-sesame", decode_workers=1) as guarded:
        with Client(guarded.url) as stranger, pytest.raises(ServiceError, match=r"^401 "):
            stranger.predict(chest_jpeg)
        with Client(guarded.url, token="open-sesame-open-sesame") as friend:
            assert friend.predict(chest_jpeg).findings


def test_a_full_service_is_asked_again_after_its_retry_after(serve: Serve, chest_jpeg: bytes) -> None:
    statuses: list[int] = []
    with serve(max_waiting=1, decode_workers=1) as small, Client(small.url) as client:
        client._http.event_hooks = {"response": [lambda response: statuses.append(response.status_code)]}
        results = list(client.predict_many([chest_jpeg] * 12, window=12))
    assert all(result.answer for result in results)
    assert statuses.count(200) == 12
    assert 503 in statuses, "the service was never full, so that nothing was shown"


def test_patience_ends(serve: Serve, chest_jpeg: bytes) -> None:
    with serve(max_waiting=1, decode_workers=1) as small, Client(small.url, patience_s=0) as client:
        results = list(client.predict_many([chest_jpeg] * 12, window=12))
    assert {result.error.status for result in results if result.error} == {503}
