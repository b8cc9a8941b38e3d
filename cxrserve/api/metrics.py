"""GET /metrics, for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from cxrserve.api.service import Service, service_of

router = APIRouter(tags=["about"])


@router.get("/metrics", summary="Measurements for Prometheus", response_class=PlainTextResponse)
async def metrics(service: Annotated[Service, Depends(service_of)]) -> Response:
    """Queues, batches, stages, requests, rejections, in Prometheus' text format; holds no patient data."""
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)
