"""uvicorn's HTTP/1.1 protocol with time limits, so that no slow client can hold a connection.

uvicorn limits only the time between two requests. This protocol also limits the time for the headers, the
time to drain a refused body, and the time for the client to read the response. Input that is not HTTP gets
a problem as its response. (`upload.receive` limits the time for the body.)
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from cxrserve.api.connections import PROBES, ConnectionLimits, plain_address
from cxrserve.api.lingering import LingeringTransport
from cxrserve.api.problems import MEDIA_TYPE, problem_of
from cxrserve.api.request_log import RequestRecord
from cxrserve.api.strict_http import StrictConnection
from cxrserve.errors import Busy, CxrserveError, RequestError, RequestTimeout

# After an early response, the rest of the body is read and discarded for this time, so that the client can
# read the response before the connection is reset (RFC 9112, 9.6).
_LINGER_S: Final = 5.0
# Headers are small, so a client that sends them slowly is not one to wait for.
_HEADERS_S: Final = 10.0
_MAX_HEADER_BYTES: Final = 64 * 1024
# Size of one read from a socket. A body in one-byte chunks costs h11 about a microsecond per byte: with
# asyncio's own 256 kB, one such client would block all others for a third of a second per read.
_READ_BYTES: Final = 32 * 1024
# A body of known length is not parsed byte by byte, so reads may be larger. On the loopback, with its packets
# of 64 kB, smaller reads would close the TCP window after each, and most clients read their 503 only after
# they have sent everything.
_BODY_BYTES: Final = 128 * 1024


class TimeLimitedProtocol(H11Protocol, asyncio.BufferedProtocol):
    """One connection.

    Args:
        timeout_s: time for the client to read the response; at most ten seconds of it for the headers.
        linger_bytes: most bytes of a body that are read after its request was answered.
        limits: the open connections of this server.
    """

    def __init__(
        self, *args: Any, timeout_s: float, linger_bytes: int, limits: ConnectionLimits, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.conn: StrictConnection = StrictConnection(
            self._check_request,
            max_header_bytes=self.config.h11_max_incomplete_event_size or _MAX_HEADER_BYTES,
        )
        self._limits: Final = limits
        self._over_limit: CxrserveError | None = None
        self._address = ""
        self._timeout_s: Final = timeout_s
        self._headers_s: Final = min(_HEADERS_S, timeout_s)
        self._linger_bytes: Final = linger_bytes
        self._lingering: LingeringTransport
        self._buffer = bytearray(_READ_BYTES)
        self._discarded_bytes = 0
        self._headers_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the connection or note that there is none; start the timer for the first headers."""
        self._lingering = LingeringTransport(
            transport,
            lambda: self.conn.their_state is h11.SEND_BODY,
            seconds=min(_LINGER_S, self._timeout_s),
            max_bytes=self._linger_bytes,
        )
        super().connection_made(self._lingering)
        self._address = plain_address(self.client[0]) if self.client else ""
        self._over_limit = self._limits.add(self)
        if self._over_limit is not None and self._limits.full():
            self._refuse(self._over_limit)
        self._update_timers()

    @property
    def address(self) -> str:
        """The client's IP address, or that of its proxy."""
        return self._address

    @property
    def idle(self) -> bool:
        """True while no request is being received or answered."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.conn.their_state is h11.IDLE

    def end(self) -> None:
        """Close this idle connection without a response."""
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        super().connection_lost(exc)
        self._limits.remove(self)
        for timer in (self._headers_timer, self._end_timer):
            if timer is not None:
                timer.cancel()

    def get_buffer(self, sizehint: int) -> bytearray:
        """The buffer for the next read; asyncio.BufferedProtocol lets this class choose its size."""
        size = _BODY_BYTES if self._in_plain_body() else _READ_BYTES
        if len(self._buffer) != size:
            self._buffer = bytearray(size)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Handle `nbytes` that were read."""
        if self._lingering.lingers:
            self._lingering.discard(nbytes)
            return
        if self._answered_early():
            self._discarded_bytes += nbytes
            if self._discarded_bytes > self._linger_bytes:
                self.transport.abort()
                return
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Parse bytes and update the timers."""
        super().data_received(data)
        self._update_timers()

    def on_response_complete(self) -> None:
        """The response was handed to the kernel, perhaps before the request was complete."""
        answered, refused_early = self.cycle, self.conn.their_state is h11.SEND_BODY
        self._discarded_bytes = 0
        super().on_response_complete()
        self._limits.used(self)
        if self._end_timer is not None:
            self._end_timer.cancel()
        limit_s = min(_LINGER_S, self._timeout_s) if refused_early else self._timeout_s
        self._end_timer = self.loop.call_later(limit_s, self._end, answered)
        self._update_timers()

    def _update_timers(self) -> None:
        """Run the header timer while waiting for a request, the end timer until all is sent and received."""
        awaiting_headers = self.conn.their_state is h11.IDLE
        if awaiting_headers and self._headers_timer is None:
            self._headers_timer = self.loop.call_later(self._headers_s, self._headers_late)
        elif not awaiting_headers and self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None
        if self._end_timer is not None and awaiting_headers and not self.transport.get_write_buffer_size():
            self._end_timer.cancel()
            self._end_timer = None

    def _in_plain_body(self) -> bool:
        """True if the next bytes belong to a body of known length."""
        return self.conn.their_state is h11.SEND_BODY and not any(
            name == b"transfer-encoding" for name, _ in self.headers
        )

    def _answered_early(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE

    def _headers_late(self) -> None:
        headers_started = bool(self.conn.trailing_data[0])
        if headers_started:
            self._refuse(RequestTimeout(f"the headers were not complete after {self._headers_s:g} s."))
        else:
            self.transport.close()  # an idle connection sent no request, so it gets no response

    def _end(self, answered: RequestResponseCycle) -> None:
        still_sending = self.cycle is answered and self.conn.their_state is h11.SEND_BODY
        if still_sending or self.transport.get_write_buffer_size():
            self.transport.abort()
        self._end_timer = None

    def send_400_response(self, msg: str) -> None:
        """Refuse input that h11 cannot parse, without repeating it, and requests that a check refused."""
        self._refuse(
            self.conn.refusal
            or RequestError("this is not an HTTP/1.1 request (RFC 9112), or its headers are too long.")
        )

    def _check_request(self, request: h11.Request) -> CxrserveError | None:
        self._limits.used(self)
        return None if request.target in PROBES else self._over_limit

    def _refuse(self, error: CxrserveError) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(self._refusal(error))
        self.transport.close()

    def _refusal(self, error: CxrserveError) -> bytes:
        record = RequestRecord(outcome=error.slug)
        body = problem_of(error, record.request_id).model_dump_json(exclude_none=True).encode()
        head = h11.Response(
            status_code=error.http_status,
            headers=[
                ("Content-Type", MEDIA_TYPE),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
                ("X-Request-ID", record.request_id),
                *([("Retry-After", str(error.retry_after_s))] if isinstance(error, Busy) else ()),
            ],
        )
        record.write(method=None, path=None, status=error.http_status)
        parts = [self.conn.send(event) for event in (head, h11.Data(data=body), h11.EndOfMessage())]
        return b"".join(part for part in parts if part)
