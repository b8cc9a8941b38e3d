"""Slow and greedy clients: one address gets half of the places and of the memory, and must keep a pace."""

from __future__ import annotations

import contextlib
import time

import httpx
import pytest

from cxrserve.api.transfers import Memory, Pace, Transfers
from cxrserve.errors import Overloaded
from tests.api import raw
from tests.api.conftest import check_problem
from tests.conftest import Serve


def test_slow_uploads_of_one_address_leave_room_for_others(serve: Serve, chest_jpeg: bytes) -> None:
    """With two bytes each they would hold every place for as long as they like."""
    with serve(max_waiting=3) as running, contextlib.ExitStack() as peers:
        for path in ("/display", "/predict", "/display", "/predict", "/triage", "/display"):
            peer = peers.enter_context(raw.connected(running.port))
            peer.sendall(raw.head("Content-Length: 1000000", path=path) + b"ab")
        time.sleep(0.5)
        check_problem(httpx.post(f"{running.url}/display", content=chest_jpeg), 503, "overloaded")
        other = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=other, timeout=60) as client:
            assert client.post(f"{running.url}/predict", content=chest_jpeg).status_code == 200


def test_a_body_must_keep_a_pace(serve: Serve) -> None:
    """It has 60 seconds in all, but two bytes in five seconds are no upload."""
    with serve() as running, raw.connected(running.port) as peer:
        started = time.perf_counter()
        peer.sendall(raw.head("Content-Length: 1000000") + b"ab")
        assert raw.status(peer) == 408
        assert time.perf_counter() - started < 30


def test_a_pace_is_the_minimum_rate_after_a_grace() -> None:
    pace = Pace(100.0, timeout_s=60, bytes_per_s=1000)
    assert pace.deadline_s == 105
    pace.moved(10_000)
    assert pace.deadline_s == 115
    pace.paused(2)
    assert pace.deadline_s == 117
    pace.moved(1_000_000)
    assert pace.deadline_s == 162


def test_stores_have_places_of_their_own() -> None:
    memory = Memory(1000)
    uploads = Transfers(memory, limit=2, setting="A")
    stores = Transfers(memory, limit=2, setting="B")
    with uploads.begin("a"), uploads.begin("b"):
        with pytest.raises(Overloaded, match="A"):
            uploads.begin("c")
        with stores.begin("a"), pytest.raises(Overloaded, match="B"):
            stores.begin("a")


def test_memory_is_one_budget_and_half_of_it_for_one_address() -> None:
    memory = Memory(1000)
    transfers = Transfers(memory, limit=10, setting="A")
    with transfers.begin("a") as first, transfers.begin("a") as second, transfers.begin("b") as third:
        first.hold(300)
        with pytest.raises(Overloaded, match="TRANSFER_BYTES"):
            second.hold(300)
        second.hold(200)
        third.hold(400)
        with pytest.raises(Overloaded), transfers.begin("c") as fourth:
            fourth.hold(200)
        assert memory.used_bytes == 900
        first.arrived()
        assert memory.used_bytes == 900, "what arrived stays in memory"
    assert memory.used_bytes == 0
    with transfers.begin("a") as alone:
        alone.hold(5000)  # one always fits


def test_what_is_kept_is_released_once() -> None:
    memory = Memory(1000)
    transfers = Transfers(memory, limit=1, setting="A")
    with transfers.begin("a") as kept:
        kept.hold(10)
        kept.keep()
    assert memory.used_bytes == 10
    for _ in range(2):
        kept.release()
    assert memory.used_bytes == 0
    with transfers.begin("b"):
        pass
