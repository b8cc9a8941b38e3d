"""The load generator: open loop keeps its times whatever the service does, and statuses are counted."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cxrserve.bench.load import GONE, Client, Level, Sent, closed_loop, open_loop


class _Slow(BaseHTTPRequestHandler):
    """Takes 50 ms for an answer; what the body says is its status."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        status = int(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.05)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 256


@pytest.fixture
def url() -> Iterator[str]:
    with _Server(("127.0.0.1", 0), _Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_closed_loop_is_as_fast_as_the_service(url: str) -> None:
    with Client(url, "/") as client:
        level = closed_loop(client, [b"200"], clients=2, seconds=1.0)
    assert level.statuses.keys() == {200}
    assert 10 <= level.rate <= 41
    assert level.percentile(50) >= 0.05


def test_an_open_loop_sends_when_due_and_counts_from_then(url: str) -> None:
    with Client(url, "/") as client:
        level = open_loop(client, [b"200", b"503"], rate=60, seconds=2.0)
    assert 80 <= len(level.sent) <= 160
    assert level.statuses.keys() == {200, 503}
    assert level.percentile(50) >= 0.05
    assert level.percentile(99, status=503) >= 0.05
    # One at a time could answer 20 a second: an open loop does not wait for answers.
    assert sum(level.statuses.values()) / level.seconds > 30


def test_even_arrivals_are_evenly_spaced(url: str) -> None:
    with Client(url, "/") as client:
        level = open_loop(client, [b"200"], rate=20, seconds=1.0, spacing="even")
    assert len(level.sent) == 20
    assert level.statuses == {200: 20}


def test_a_service_that_is_gone_is_counted_as_such() -> None:
    with Client("http://127.0.0.1:9", "/") as client:
        level = closed_loop(client, [b"200"], clients=1, seconds=0.1)
    assert level.statuses.keys() == {GONE}
    assert math.isnan(level.percentile(50))


def test_percentiles_are_values_that_were_seen() -> None:
    sent = tuple(Sent(status=200, seconds=second, late_s=0) for second in range(1, 101))
    level = Level(asked_rate=1, seconds=10, sent=sent)
    assert (level.percentile(50), level.percentile(99), level.percentile(100)) == (50, 99, 100)
    assert level.rate == 10
