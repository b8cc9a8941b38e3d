"""Cancels a request's work when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from cxrserve.scheduling.request import Cancellation


@asynccontextmanager
async def cancelled_on_disconnect(request: Request) -> AsyncIterator[Cancellation]:
    """Watch the client of `request`, whose body was read, while the block runs.

    Yields:
        a token that is cancelled when the client disconnects, or when the block ends with an exception
        (an error, or the shutdown of the service).
    """
    cancelled = Cancellation()
    watcher = asyncio.create_task(_wait_for_disconnect(request, cancelled))
    try:
        yield cancelled
    except BaseException:
        cancelled.cancel()
        raise
    finally:
        watcher.cancel()


async def _wait_for_disconnect(request: Request, cancelled: Cancellation) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    cancelled.cancel()
