"""Limits of an HTTP exchange with a PACS: of its time as a whole, and of the size of the answer.

The timeout of `requests` is for a single read: a server that sends a byte every few seconds would hold an
exchange for ever. Here a timer shuts the connection down when the exchange falls behind: the headers of the
answer must arrive in time, and then the body must come at a least rate.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MIN_BYTES_PER_S: Final = 32 * 1024  # of a body, in either direction, after the timeout
_PIECE_BYTES: Final = 64 * 1024


class AnswerTooLarge(requests.RequestException):
    """The answer of a server has more bytes than are allowed."""


class _Watch:
    """Shuts down the connections of one exchange at a time, when its deadline has passed."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._sockets: Final[WeakSet[socket.socket]] = WeakSet()
        self._timer: threading.Timer | None = None
        self._until = 0.0
        self.expired = False

    def begin(self, allowed_s: float) -> None:
        """Begin an exchange, whose deadline is in `allowed_s` seconds."""
        self.end()
        with self._lock:
            self.expired = False
            self._until = time.monotonic() + allowed_s
            self._start_timer()

    def extend(self, until: float) -> None:
        """Move the deadline to `until`, on the monotonic clock."""
        with self._lock:
            self._until = until

    def end(self) -> None:
        """End the exchange: it has no deadline any more."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def add(self, connection: socket.socket) -> None:
        """Watch a connection of the exchange."""
        with self._lock:
            self._sockets.add(connection)
            if self.expired:
                _shut_down(connection)

    def _start_timer(self) -> None:
        self._timer = threading.Timer(max(0.0, self._until - time.monotonic()), self._check)
        self._timer.daemon = True
        self._timer.start()

    def _check(self) -> None:
        with self._lock:
            if self._timer is None:
                return
            if time.monotonic() < self._until:  # it was moved meanwhile
                self._start_timer()
                return
            self.expired = True
            for connection in self._sockets:
                _shut_down(connection)


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        # Not SSLSocket's own method, which would take the encryption away from a thread that is reading.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class LimitedAdapter(HTTPAdapter):
    """The transport of `requests`, with limits on the whole exchange. For one thread.

    Args:
        timeout_s: to connect and for each read; the headers of the answer must be there within twice this
            time, and the time that the request's body takes at the least rate.
        max_answer_bytes: largest body of an answer, decompressed.
    """

    def __init__(self, *, timeout_s: float, max_answer_bytes: int) -> None:
        self._timeout_s: Final = timeout_s
        self._max_answer_bytes: Final = max_answer_bytes
        self._watch: Final = _Watch()
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool of connections, each of which is watched."""
        super().init_poolmanager(*args, **kwargs)
        watch = self._watch

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                watch.add(self.sock)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                watch.add(self.sock)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request and return the answer, whose body is limited too.

        Raises:
            requests.RequestException: the connection failed or broke, or the time was up.
        """
        size = int(request.headers.get("Content-Length") or 0)
        self._watch.begin(2 * self._timeout_s + size / MIN_BYTES_PER_S)
        try:
            answer = super().send(request, *args, **kwargs)
        except BaseException:
            self._watch.end()
            raise
        answer.raw = LimitedBody(answer.raw, self._watch, self._timeout_s, self._max_answer_bytes)
        return answer


class LimitedBody:
    """The body of an answer, which must come at a least rate and end within a number of bytes.

    Stands in for urllib3's response, of which `requests` reads the body with `stream`.
    """

    def __init__(self, raw: Any, watch: _Watch, timeout_s: float, max_bytes: int) -> None:
        self._raw: Final = raw
        self._watch: Final = watch
        self._timeout_s: Final = timeout_s
        self._max_bytes: Final = max_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the answer."""
        headers: Mapping[str, str] = self._raw.headers
        return headers

    def stream(self, amount: int = _PIECE_BYTES, decode_content: bool | None = None) -> Iterator[bytes]:
        """The pieces of the body.

        Raises:
            requests.ConnectionError: they come too slowly.
            AnswerTooLarge: there are too many bytes.
        """
        received, until = 0, time.monotonic() + self._timeout_s
        self._watch.extend(until)
        try:
            for piece in self._raw.stream(min(amount, _PIECE_BYTES), decode_content=decode_content):
                received += len(piece)
                if received > self._max_bytes:
                    self._raw.close()
                    raise AnswerTooLarge(f"the answer has more than {self._max_bytes} bytes")
                self._watch.extend(until + received / MIN_BYTES_PER_S)
                yield piece
            if self._watch.expired:  # a body without a length ends where the connection does
                raise requests.ConnectionError("the answer came too slowly")
        finally:
            self._watch.end()

    def close(self) -> None:
        """Close the connection."""
        self._watch.end()
        self._raw.close()

    def release_conn(self) -> None:
        """Give the connection back to its pool."""
        self._watch.end()
        self._raw.release_conn()
