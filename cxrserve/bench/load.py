"""Requests at a service: as fast as it answers (closed loop), or at a set rate, come what may (open loop)."""

from __future__ import annotations

import http.client
import math
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import urlsplit

Spacing = Literal["poisson", "even"]
GONE: Final = 0  # the status of a request whose connection broke
REFUSED: Final = 503
_TIMEOUT_S: Final = 300.0
# Connections an open loop may have; one above the most that any service here takes at once by far.
_MAX_CONNECTIONS: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """One request: its HTTP status, the seconds from when it was due to its answer, and its lateness."""

    status: int
    seconds: float
    late_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """Result of one level of load. Latencies count from when a request was due, not sent."""

    asked_rate: float | None
    seconds: float
    sent: tuple[Sent, ...]

    @property
    def statuses(self) -> dict[int, int]:
        """Number of requests by status."""
        return dict(sorted(Counter(request.status for request in self.sent).items()))

    @property
    def refused_share(self) -> float:
        """Share of the requests that got 503; NaN where none was sent."""
        return self.statuses.get(REFUSED, 0) / len(self.sent) if self.sent else math.nan

    @property
    def rate(self) -> float:
        """Images answered with 200 a second."""
        return self.statuses.get(200, 0) / self.seconds

    def percentile(self, percent: float, *, status: int = 200) -> float:
        """Seconds within which `percent` of the requests with this status were answered; NaN for none."""
        seconds = sorted(request.seconds for request in self.sent if request.status == status)
        if not seconds:
            return math.nan
        return seconds[min(len(seconds) - 1, math.ceil(percent / 100 * len(seconds)) - 1)]


class Client:
    """POSTs files to one address; a connection for each thread, kept open until the client is closed."""

    def __init__(self, url: str, path: str) -> None:
        parts = urlsplit(url)
        self._address: Final = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._path: Final = path
        self._own: Final = threading.local()
        self._all: Final[list[http.client.HTTPConnection]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._all:
            connection.close()

    def post(self, data: bytes) -> int:
        """The status of the answer to `data`; 0 where there was none."""
        return self.ask(data)[0]

    def ask(self, data: bytes) -> tuple[int, float]:
        """The same, and the seconds after which the service may be asked again; 0 where it says nothing."""
        used = hasattr(self._own, "connection") and self._own.connection.sock is not None
        answer = self._ask(data)
        # A service may close a connection that was idle: that is no answer to what comes after.
        return self._ask(data) if answer[0] == GONE and used else answer

    def _ask(self, data: bytes) -> tuple[int, float]:
        connection = self._connection()
        try:
            connection.request("POST", self._path, data, {"Content-Type": "application/octet-stream"})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return GONE, 0.0
        if response.will_close:
            connection.close()
        return response.status, float(response.headers.get("Retry-After", "0"))

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._own, "connection"):
            host, port = self._address
            self._own.connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
            self._all.append(self._own.connection)
        connection: http.client.HTTPConnection = self._own.connection
        return connection


def closed_loop(client: Client, images: Sequence[bytes], *, clients: int, seconds: float) -> Level:
    """`clients` threads that each send the next film as soon as the last was answered.

    One that is refused comes again when it was told to: a loop that did not wait would measure refusals.
    """
    sent: queue.SimpleQueue[Sent] = queue.SimpleQueue()
    started = time.perf_counter()
    until = started + seconds

    def work(number: int) -> None:
        turn = number
        while (due := time.perf_counter()) < until:
            status, pause_s = client.ask(images[turn % len(images)])
            sent.put(Sent(status=status, seconds=time.perf_counter() - due, late_s=0.0))
            turn += clients
            time.sleep(max(0.0, min(pause_s, until - time.perf_counter())) if status == REFUSED else 0.0)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, range(clients)))
    took = time.perf_counter() - started
    return Level(asked_rate=None, seconds=took, sent=tuple(_drained(sent)))


def open_loop(
    client: Client,
    images: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    spacing: Spacing = "poisson",
    seed: int = 0,
    on_answer: Callable[[], None] = lambda: None,
) -> Level:
    """`rate` requests a second on average, whatever the service does.

    Args:
        spacing: at random times, as from many senders who know nothing of each other, or evenly spaced.
        on_answer: called after each answer.
    """
    sent: queue.SimpleQueue[Sent] = queue.SimpleQueue()
    dues = list(_dues(rate, seconds, spacing, seed))
    started = time.perf_counter()

    def work(due: float, image: bytes) -> None:
        late_s = time.perf_counter() - started - due
        status = client.post(image)
        sent.put(Sent(status=status, seconds=time.perf_counter() - started - due, late_s=late_s))
        on_answer()

    with ThreadPoolExecutor(_MAX_CONNECTIONS) as pool:
        for turn, due in enumerate(dues):
            time.sleep(max(0.0, started + due - time.perf_counter()))
            pool.submit(work, due, images[turn % len(images)])
    took = max(seconds, time.perf_counter() - started)
    return Level(asked_rate=rate, seconds=took, sent=tuple(_drained(sent)))


def _dues(rate: float, seconds: float, spacing: Spacing, seed: int) -> Iterator[float]:
    if spacing == "even":
        yield from (number / rate for number in range(int(rate * seconds)))
        return
    clock = random.Random(seed)  # noqa: S311 (arrival times, not secrets)
    due = clock.expovariate(rate)
    while due < seconds:
        yield due
        due += clock.expovariate(rate)


def _drained(sent: queue.SimpleQueue[Sent]) -> Iterator[Sent]:
    while not sent.empty():
        yield sent.get()
