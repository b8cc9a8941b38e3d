"""A transport with a lingering close, so that the client can read the response before the connection ends.

If a server closes a connection while the client still sends, the client's kernel discards the response
unread (RFC 9112, 9.6). So while the request is incomplete, only the sending side is closed. Bytes that
arrive are discarded unparsed, up to a limit of time and size; then the connection is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` waits for the peer while `sending` returns True.

    Args:
        sending: returns True while the request is incomplete.
        seconds, max_bytes: limits of the bytes to discard.

    Attributes:
        lingers: True after the sending side was closed, until the peer closes its side.
    """

    def __init__(
        self, transport: asyncio.Transport, sending: Callable[[], bool], *, seconds: float, max_bytes: int
    ) -> None:
        super().__init__()
        self._transport: Final = transport
        self._sending: Final = sending
        self._seconds: Final = seconds
        self._bytes_left = max_bytes
        self.lingers = False

    def close(self) -> None:
        """Close; immediately if the request is complete."""
        if self.lingers:
            return
        if self._transport.is_closing() or not self._sending() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self.lingers = True
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)

    def is_closing(self) -> bool:
        """True when nothing more can be sent."""
        return self.lingers or self._transport.is_closing()

    def discard(self, nbytes: int) -> None:
        """Count discarded bytes; abort the connection above the limit."""
        self._bytes_left -= nbytes
        if self._bytes_left < 0:
            self._transport.abort()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """See `asyncio.Transport`."""
        if not self.lingers:
            self._transport.write(data)

    def abort(self) -> None:
        """See `asyncio.Transport`."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""
        if not self.lingers:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """See `asyncio.Transport`."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.Transport`."""
        return self._transport.get_extra_info(name, default)
