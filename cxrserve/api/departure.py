"""A client that goes away while its answer is being made: whatever waits for it is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from cxrserve.ensemble.cancellation import Cancellation


@asynccontextmanager
async def watched(request: Request) -> AsyncIterator[Cancellation]:
    """While the block lasts, see whether the client of `request`, whose body is whole, is still there.

    Yields:
        what is cancelled once it is not, or once the block is left early: at shutdown, or by an error.
    """
    cancelled = Cancellation()
    watching = asyncio.create_task(_gone(request, cancelled))
    try:
        yield cancelled
    except BaseException:
        cancelled.cancel()
        raise
    finally:
        watching.cancel()


async def _gone(request: Request, cancelled: Cancellation) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    cancelled.cancel()
