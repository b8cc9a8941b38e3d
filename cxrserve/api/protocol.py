"""uvicorn's HTTP/1.1 protocol with patience that ends: no client holds a connection by being slow.

uvicorn limits only the time between two requests. Here the headers have a deadline too, a refused body is
drained for a while and no longer, an answer that nobody takes is dropped, and what is not HTTP at all is
refused as a problem like everything else. (The body's own deadline is `upload.receive`'s.)
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from cxrserve.api.lingering import LingeringTransport
from cxrserve.api.problems import MEDIA_TYPE, of_error
from cxrserve.api.record import Record
from cxrserve.errors import Busy, CxrserveError, Overloaded, RequestError, RequestTimeout

# After an early answer the rest of the body is read and thrown away for so long, that the client may read
# the answer before the connection is reset under it (RFC 9112, 9.6).
_LINGER_S: Final = 5.0
# Far below the usual limit of 1,024 open files; idle connections are ended in `patience_s`.
_MOST_CONNECTIONS: Final = 512
# Taken from a socket at a time. A body in one-byte chunks costs h11 about a microsecond for each byte sent:
# with asyncio's own 256 kB one such client would hold up all others for a third of a second at a time.
_READ_BYTES: Final = 32 * 1024
# A body of known length is not looked at byte by byte. Fewer, larger reads: on the loopback, whose packets
# have 64 kB, the window would else be shut after each, and most senders read their 503 once all is sent.
_BODY_BYTES: Final = 128 * 1024


class PatientProtocol(H11Protocol, asyncio.BufferedProtocol):
    """One connection.

    Args:
        patience_s: time for a request's headers to arrive, and for an answer to be taken.
        linger_bytes: most that is read of a body after its request was answered.
    """

    def __init__(self, *args: Any, patience_s: float, linger_bytes: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience_s: Final = patience_s
        self._linger_bytes: Final = linger_bytes
        self._lingering: LingeringTransport
        self._buffer = bytearray(_READ_BYTES)
        self._unwanted_bytes = 0
        self._headers_due: asyncio.TimerHandle | None = None
        self._end_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse where too many are connected; else the clock for the first headers starts."""
        self._lingering = LingeringTransport(
            transport,
            lambda: self.conn.their_state is h11.SEND_BODY,
            seconds=min(_LINGER_S, self._patience_s),
            most_bytes=self._linger_bytes,
        )
        super().connection_made(self._lingering)
        if len(self.connections) > _MOST_CONNECTIONS:
            self._refuse(Overloaded(f"{_MOST_CONNECTIONS} connections are open. Try again later."))
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        super().connection_lost(exc)
        for due in (self._headers_due, self._end_due):
            if due is not None:
                due.cancel()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the next bytes go; asyncio.BufferedProtocol, which lets the size be chosen."""
        wanted = _BODY_BYTES if self._in_plain_body() else _READ_BYTES
        if len(self._buffer) != wanted:
            self._buffer = bytearray(wanted)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have come."""
        if self._lingering.lingers:
            self._lingering.discard(nbytes)
            return
        if self._answered_early():
            self._unwanted_bytes += nbytes
            if self._unwanted_bytes > self._linger_bytes:
                self.transport.abort()
                return
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take bytes; see what is due next."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The answer was handed to the kernel, perhaps before the request was whole."""
        answered, refused_early = self.cycle, self.conn.their_state is h11.SEND_BODY
        self._unwanted_bytes = 0
        super().on_response_complete()
        if self._end_due is not None:
            self._end_due.cancel()
        allowed_s = min(_LINGER_S, self._patience_s) if refused_early else self._patience_s
        self._end_due = self.loop.call_later(allowed_s, self._end, answered)
        self._watch()

    def _watch(self) -> None:
        """The headers' clock runs while a request is awaited, the end's until all is sent and received."""
        awaiting_headers = self.conn.their_state is h11.IDLE
        if awaiting_headers and self._headers_due is None:
            self._headers_due = self.loop.call_later(self._patience_s, self._headers_late)
        elif not awaiting_headers and self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None
        if self._end_due is not None and awaiting_headers and not self.transport.get_write_buffer_size():
            self._end_due.cancel()
            self._end_due = None

    def _in_plain_body(self) -> bool:
        """Whether what comes next are bytes of a body of known length."""
        return self.conn.their_state is h11.SEND_BODY and not any(
            name == b"transfer-encoding" for name, _ in self.headers
        )

    def _answered_early(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE

    def _headers_late(self) -> None:
        begun = bool(self.conn.trailing_data[0])
        if begun:
            self._refuse(RequestTimeout(f"the headers were not complete after {self._patience_s:g} s."))
        else:
            self.transport.close()  # an idle connection asked for nothing, so it is told nothing

    def _end(self, answered: RequestResponseCycle) -> None:
        still_sending = self.cycle is answered and self.conn.their_state is h11.SEND_BODY
        if still_sending or self.transport.get_write_buffer_size():
            self.transport.abort()
        self._end_due = None

    def send_400_response(self, msg: str) -> None:
        """What h11 could not parse: refused like everything else, without repeating it."""
        self._refuse(RequestError("this is not an HTTP/1.1 request (RFC 9112), or its headers are too long."))

    def _refuse(self, error: CxrserveError) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(self._refusal(error))
        self.transport.close()

    def _refusal(self, error: CxrserveError) -> bytes:
        record = Record(outcome=error.slug)
        body = of_error(error, record.request_id).model_dump_json(exclude_none=True).encode()
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
