"""GET /metrics, for Prometheus."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from cxrserve.api.service import Service, service_of

router = APIRouter(tags=["about"])


@router.get("/metrics", summary="Measurements for Prometheus", response_class=PlainTextResponse)
async def metrics(service: Annotated[Service, Depends(service_of)]) -> Response:
    """Queues, batches, stages, requests, rejections and the archive's work, in Prometheus' text format.

    Holds no patient data.
    """
    # On a thread: the archive's figures come from its database, which may make one wait.
    said = await asyncio.to_thread(generate_latest, service.metrics.registry)
    return Response(said, media_type=CONTENT_TYPE_LATEST)
