"""Routes about the service: health, readiness, model, metrics, problem pages."""

from __future__ import annotations

import asyncio
import html
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cxrserve.api import openapi
from cxrserve.api.problems import catalogue
from cxrserve.api.service import Service, service_of
from cxrserve.bundle.adopted_site import Outcome
from cxrserve.bundle.contract import Contract

router = APIRouter(tags=["about"])

ServiceOf = Annotated[Service, Depends(service_of)]

REPORT_FILE: Final = "report.html"
REPORT_PATH: Final = "/viewer/report"
FIGURES_FILE: Final = "report.json"
_MAX_REPORT_BYTES: Final = 64 * 2**20


class Alive(BaseModel):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """The bundle is verified, the engines are built, a warm-up has run."""

    status: Literal["ready"] = "ready"


class EngineReport(BaseModel):
    """The inference engine, and why it was chosen."""

    name: str
    version: str
    precision: str
    reason: str
    scales: dict[str, str] = Field(description="The precision that each scale is computed in, by size.")


class SiteAbout(BaseModel):
    """The site file that is adopted."""

    name: str
    version: int
    sha256: str = Field(description="SHA-256 of the site file.")
    created: str = Field(description="Date, ISO 8601.")
    note: str
    previous: str | None = Field(description="SHA-256 of the version before; null for the first.")
    evidence: tuple[Outcome, ...] = Field(description="By finding: adopted or not, and why.")


class ModelReport(Contract):
    """The bundle's contract, and the engine that runs it."""

    sha256: str = Field(description="SHA-256 of bundle.json, which names every file of the bundle.")
    engine: EngineReport
    site: SiteAbout | None = Field(
        None, description="The adopted site file; its calibration and operating points stand above."
    )
    report: str | None = Field(description="Path of the bundle's own report; null if it has none.")


@router.get("/healthz", summary="Is the service alive?")
async def healthz() -> Alive:
    """200 while the process answers requests."""
    return Alive()


@router.get("/readyz", summary="Is the service ready?", responses=openapi.problems(503))
async def readyz(service: ServiceOf) -> Ready:
    """200 after the bundle was verified, the engines were built and a warm-up has run.

    503 before that, and after a device has failed permanently; the service then ends.
    """
    _ = service.pipeline
    return Ready()


@router.get("/model", summary="Describe the model", responses=openapi.problems(503))
async def model(service: ServiceOf) -> ModelReport:
    """The contract of the served bundle: its origin, its measured performance, its limits."""
    predictor = service.pipeline.predictor
    choice, site = predictor.choice, predictor.bundle.site
    return ModelReport(
        **dict(predictor.bundle.contract),
        sha256=predictor.bundle.sha256,
        engine=EngineReport(
            name=choice.name,
            version=choice.version,
            precision=predictor.precision,
            reason=choice.reason,
            scales={str(size): precision for size, precision in predictor.precisions.items()},
        ),
        site=None if site is None else SiteAbout(**asdict(site)),
        report=REPORT_PATH if (service.settings.bundle / REPORT_FILE).is_file() else None,
    )


@router.get(
    "/model/report",
    summary="The bundle's figures",
    responses=openapi.problems(404, 503),
    response_class=JSONResponse,
)
async def model_report(service: ServiceOf) -> Response:
    """`report.json` of the bundle: what `cxrserve evaluate` measured, finding by finding. No patient data.

    404 where the bundle was not evaluated.
    """
    content = await service.in_thread(partial(read_report, service.settings.bundle / FIGURES_FILE))
    if content is None:
        raise HTTPException(404)
    return Response(content, media_type="application/json")


def read_report(path: Path) -> bytes | None:
    """A report in the bundle's folder; None where there is none, or it is a link, or larger than 64 MiB."""
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_REPORT_BYTES:
            return None
        return path.read_bytes()
    except OSError:
        return None


@router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
async def metrics(service: ServiceOf) -> Response:
    """Queues, batches, stages, requests, rejections and archive work, in Prometheus' text format.

    Contains no patient data.
    """
    # On a thread: the archive's metrics come from its database, which may be slow.
    text = await asyncio.to_thread(generate_latest, service.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/problems/{slug}", response_class=HTMLResponse, responses=openapi.problems(404))
async def problem(slug: str) -> HTMLResponse:
    """The page that a problem's `type` links to (RFC 9457, 3.1.1)."""
    try:
        status, title, meaning = catalogue()[slug]
    except KeyError:
        raise HTTPException(404) from None
    title, meaning = html.escape(title), html.escape(meaning)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><p>HTTP {status}. {meaning}</p>"
        "<p>The problem's <code>detail</code> says what was wrong with the request, and what to do.</p>"
        "</html>"
    )
