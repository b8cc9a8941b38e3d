"""The application: routes, problems and envelope around one service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import Depends, FastAPI

from cxrserve import __version__
from cxrserve.api import about, access, dicomweb, metrics, openapi, predict, problems, studies, triage, viewer
from cxrserve.api.envelope import Envelope
from cxrserve.api.service import Service
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.reports.answer import DISCLAIMER
from cxrserve.settings import Settings

if TYPE_CHECKING:  # what it stands on is installed with the extra [pacs] only
    from cxrserve.archive.archive import Archive
    from cxrserve.archive.destination import Puller

_MOST_PULLS: Final = 4  # studies that are fetched from a PACS at once


def create_app(
    settings: Settings,
    pipeline: Pipeline | None = None,
    archive: Archive | None = None,
    puller: Puller | None = None,
) -> FastAPI:
    """The HTTP service.

    Args:
        pipeline: one that is already open and stays its giver's to close; by default the application opens
            its own once it runs, in a thread, and /readyz tells when that is done. Why it could not be
            opened stands in `app.state.service.failure`.
        archive: what DICOMweb and the worklist work on; without one there are no such routes.
        puller: fetches a study from a PACS, where there is one to fetch from.
    """
    service = Service(settings, pipeline)
    pulling = ThreadPoolExecutor(_MOST_PULLS, thread_name_prefix="pull-study")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        opening = asyncio.create_task(service.open())
        yield
        await opening
        await service.close()
        pulling.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="cxrserve",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(access.require_token)],
    )
    app.state.service = service
    app.openapi = openapi.document(app, DISCLAIMER)  # type: ignore[method-assign]
    app.include_router(predict.router)
    app.include_router(triage.router)
    app.include_router(about.router)
    app.include_router(viewer.router)
    app.include_router(metrics.router)
    if archive is not None:
        app.state.archive = archive
        app.state.puller = puller
        app.state.pulling = pulling
        app.include_router(dicomweb.router, dependencies=[Depends(access.protect_patients)])
        app.include_router(studies.router)
    app.add_middleware(Envelope)
    problems.install(app)
    return app
