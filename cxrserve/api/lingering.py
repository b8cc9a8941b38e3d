"""A close that does not lose the answer: half first, then whole.

A server that closes while a client still sends makes the client's kernel throw the answer away unread
(RFC 9112, 9.6). So where the request is not whole yet, only our side is closed; what still comes is thrown
away unparsed, for a while and up to a bound, and then the rest is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` waits for the other side where `sending` says that it still sends.

    Args:
        sending: whether the request is still coming.
        seconds, most_bytes: for how long, and how much of it, is thrown away.

    Attributes:
        lingers: True once our side is closed and the other's is not.
    """

    def __init__(
        self, transport: asyncio.Transport, sending: Callable[[], bool], *, seconds: float, most_bytes: int
    ) -> None:
        super().__init__()
        self._transport: Final = transport
        self._sending: Final = sending
        self._seconds: Final = seconds
        self._bytes_left = most_bytes
        self.lingers = False

    def close(self) -> None:
        """Close; at once where the request is whole."""
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
        """True as soon as nothing can be answered any more."""
        return self.lingers or self._transport.is_closing()

    def discard(self, nbytes: int) -> None:
        """So much has come that nobody wants."""
        self._bytes_left -= nbytes
        if self._bytes_left < 0:
            self._transport.abort()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """As the transport."""
        if not self.lingers:
            self._transport.write(data)

    def abort(self) -> None:
        """As the transport."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """As the transport."""
        if not self.lingers:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """As the transport."""
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """As the transport."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport."""
        return self._transport.get_extra_info(name, default)
