"""GET /watch: the state of the watch, in numbers and in words."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends

from cxrserve.api import openapi
from cxrserve.api.service import Service, service_of
from cxrserve.watch.report import WatchReport

router = APIRouter(tags=["about"])


@router.get("/watch", summary="Have the films changed?", responses=openapi.problems(503))
async def watch(service: Annotated[Service, Depends(service_of)]) -> WatchReport:
    """Report what changed in the films against a fixed reference, since when, and where.

    The expected time to a false alarm is at least 365 days, over all stations, views and streams together.
    The answer holds no UID, no name and no value of a single film.
    """
    return await asyncio.to_thread(service.pipeline.watch.report)
