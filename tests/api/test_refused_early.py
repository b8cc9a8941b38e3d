"""A request that is refused while its body is still coming: the client gets the answer, not a reset."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.api import raw
from tests.conftest import Serve
from tests.servers import Running

_MB = 2**20
_BODY = bytes(12 * _MB)


@pytest.fixture(scope="module")
def full(serve: Serve) -> Iterator[Running]:
    """A server all of whose places are taken, by a client that sends nothing."""
    with (
        serve(max_waiting=0, max_upload_bytes=16 * _MB, upload_timeout_s=240) as running,
        raw.connected(running.port) as slow,
    ):
        slow.sendall(raw.head("Content-Length: 1000", path="/predict"))
        until = time.monotonic() + 30
        with httpx.Client(base_url=running.url) as client:
            while client.post("/predict", content=b"x").status_code != 503:
                assert time.monotonic() < until
        yield running


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_who_sends_all_before_reading_reads_the_answer(full: Running, connection: str) -> None:
    """As most HTTP libraries do. Some ask for the connection to be closed."""
    length = f"Content-Length: {len(_BODY)}"
    for _ in range(5):
        with raw.connected(full.port) as peer:
            peer.sendall(raw.head(length, f"Connection: {connection}"))
            time.sleep(0.02)  # it is refused by now
            peer.sendall(_BODY)
            assert raw.status(peer) == 503


def test_the_connection_serves_the_next_request(full: Running) -> None:
    with raw.connected(full.port) as peer:
        peer.sendall(raw.head(f"Content-Length: {len(_BODY)}") + _BODY)
        assert raw.status(peer) == 503
        peer.sendall(raw.head("Connection: close", method="GET", path="/healthz"))
        assert b" 200 " in raw.rest(peer)


def test_who_waits_to_be_told_to_send_never_sends(full: Running) -> None:
    """As curl does with large files; what it sends next must not pass for the body it has kept."""
    with raw.connected(full.port) as peer:
        started = time.perf_counter()
        peer.sendall(raw.head(f"Content-Length: {len(_BODY)}", "Expect: 100-continue"))
        got = raw.rest(peer).lower()
        assert time.perf_counter() - started < 4  # closed at once, not when the server loses patience
    assert got.startswith(b"http/1.1 503 ")
    assert b"connection: close\r\n" in got
    assert b"retry-after: " in got


def test_who_is_let_in_is_told_to_send(server: Running, chest_jpeg: bytes) -> None:
    with raw.connected(server.port) as peer:
        peer.sendall(raw.head(f"Content-Length: {len(chest_jpeg)}", "Expect: 100-continue"))
        assert raw.status(peer) == 100
        peer.sendall(chest_jpeg)
        assert raw.status(peer) == 200


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_no_more_is_drained_than_a_client_may_mean(full: Running, connection: str) -> None:
    """Twice the largest upload; then the connection is cut, long before its time is over."""
    sent, started = 0, time.perf_counter()
    with raw.connected(full.port) as peer:
        peer.sendall(raw.head(f"Content-Length: {2**40}", f"Connection: {connection}"))
        try:
            while time.perf_counter() - started < 20:
                sent += peer.send(_BODY[:_MB])
        except OSError:  # a reset or a broken pipe
            pass
    assert time.perf_counter() - started < 4
    assert 32 * _MB <= sent < 64 * _MB
