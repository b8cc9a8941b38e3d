"""Responses that the client must read at a minimum pace, so that a slow one holds nothing for long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, Final

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from cxrserve.api.request_log import record_of
from cxrserve.api.transfers import Pace

_CHUNK_BYTES: Final = 2**18


class PacedResponse(StreamingResponse):
    """A response of known length that is given up if it is not read at `pace`."""

    def __init__(self, pace: Pace, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pace: Final = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            async with asyncio.timeout_at(self._pace.deadline_s) as timeout:

                async def send_at_pace(message: Message) -> None:
                    await send(message)
                    self._pace.moved(len(message.get("body", b"")))
                    timeout.reschedule(self._pace.deadline_s)

                await super().__call__(scope, receive, send_at_pace)
        except TimeoutError:  # the server closes a connection with an incomplete response
            record_of(scope).outcome = "not-read"
        finally:
            self.release()

    def release(self) -> None:
        """Give back what the response holds. Called once it is sent or given up."""


class FileResponse(PacedResponse):
    """The content of an open file, a piece at a time in memory."""

    def __init__(self, file: BinaryIO, pace: Pace, *, media_type: str) -> None:
        size = os.fstat(file.fileno()).st_size
        super().__init__(pace, _pieces(file), media_type=media_type, headers={"Content-Length": str(size)})
        self._file: Final = file

    def release(self) -> None:
        """Close the file."""
        self._file.close()


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield piece
