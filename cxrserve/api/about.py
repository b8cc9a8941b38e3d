"""What the service says of itself: alive, ready, which model, its problems, its documentation."""

from __future__ import annotations

import html
from importlib.resources import files
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cxrserve.api import openapi
from cxrserve.api.problems import catalogue
from cxrserve.api.service import Service, service_of
from cxrserve.ensemble.bundle import Contract

router = APIRouter(tags=["about"])

ServiceOf = Annotated[Service, Depends(service_of)]

REPORT_FILE: Final = "report.html"
REPORT_PATH: Final = "/viewer/report"
_PAGES: Final = files("cxrserve.api") / "pages"
# Everything the page needs comes from here; nothing may be loaded from or sent to another host.
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """The bundle is verified, the engines are built, a warm-up has run."""

    status: Literal["ready"] = "ready"


class EngineReport(BaseModel):
    """What computes, and why it was chosen."""

    name: str
    version: str
    precision: str
    reason: str
    scales: dict[str, str] = Field(
        description="The precision that each scale is really computed in, by size."
    )


class ModelReport(Contract):
    """The bundle's contract, and what it runs on."""

    sha256: str = Field(description="SHA-256 of bundle.json, which names every file of the bundle.")
    engine: EngineReport
    report: str | None = Field(description="Where the bundle's own report is, if it brings one.")


@router.get("/healthz", summary="Alive?")
async def healthz() -> Alive:
    """200 as long as the process answers at all."""
    return Alive()


@router.get("/readyz", summary="Ready?", responses=openapi.problems(503))
async def readyz(service: ServiceOf) -> Ready:
    """200 only once the bundle is verified, the engines are built and a warm-up has run.

    503 again where a device that computes has failed for good; the service ends then.
    """
    _ = service.pipeline
    return Ready()


@router.get("/model", summary="Which model?", responses=openapi.problems(503))
async def model(service: ServiceOf) -> ModelReport:
    """The contract of the bundle being served: how it was made, what it was measured at, its limits."""
    predictor = service.pipeline.predictor
    choice = predictor.choice
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
        report=REPORT_PATH if (service.settings.bundle / REPORT_FILE).is_file() else None,
    )


@router.get("/problems/{slug}", response_class=HTMLResponse, responses=openapi.problems(404))
async def problem(slug: str) -> HTMLResponse:
    """What a problem's `type` points at (RFC 9457, 3.1.1)."""
    try:
        status, title, meaning = catalogue()[slug]
    except KeyError:
        raise HTTPException(404) from None
    title, meaning = html.escape(title), html.escape(meaning)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><p>HTTP {status}. {meaning}</p>"
        "<p>The problem's <code>detail</code> says what was wrong in your case, and what to do.</p></html>"
    )


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """The OpenAPI document, to read and to try."""
    return _page("docs.html", "text/html")


@router.get("/docs/docs.js", include_in_schema=False)
async def docs_script() -> Response:
    """The script of /docs."""
    return _page("docs.js", "text/javascript")


@router.get("/docs/docs.css", include_in_schema=False)
async def docs_style() -> Response:
    """The style of /docs."""
    return _page("docs.css", "text/css")


def _page(name: str, media_type: str) -> Response:
    return Response(
        (_PAGES / name).read_bytes(),
        media_type=media_type,
        headers={"Content-Security-Policy": _PAGE_POLICY},
    )
