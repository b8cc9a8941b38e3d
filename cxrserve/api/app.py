"""The FastAPI application: routes, error handlers and middleware of one service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from cxrserve import __version__
from cxrserve.api import (
    about,
    access,
    archived_images,
    dicomweb,
    docs,
    labels,
    login,
    openapi,
    predict,
    problems,
    studies,
    triage,
    viewer,
    watch,
)
from cxrserve.api.middleware import RequestMiddleware
from cxrserve.api.service import Service
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.notices import DISCLAIMER
from cxrserve.settings import Settings

if TYPE_CHECKING:  # needs the extra [pacs]
    from cxrserve.archive.archive import Archive
    from cxrserve.archive.destination import Puller

_MAX_PULLS: Final = 4  # studies fetched from a PACS at the same time
_MAX_REQUESTED_PULLS: Final = 64  # these, and those that wait for one of them


def create_app(
    settings: Settings,
    pipeline: Pipeline | None = None,
    archive: Archive | None = None,
    puller: Puller | None = None,
) -> FastAPI:
    """Create the HTTP service.

    Args:
        pipeline: an open pipeline, which the caller closes; by default the application opens one on a
            thread when it starts, and /readyz reports when it is ready. If that fails, the error is in
            `app.state.service.failure`.
        archive: the archive behind DICOMweb and the worklist; without one these routes do not exist.
        puller: fetches a study from a PACS; None if the rules name none.
    """
    service = Service(settings, pipeline)
    pulling = ThreadPoolExecutor(_MAX_PULLS, thread_name_prefix="pull-study")

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
        redirect_slashes=False,  # a redirect would be sent before the token is checked, to any Host
        dependencies=[Depends(access.require_client)],
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.service = service
    app.openapi = openapi.document(app, DISCLAIMER, guarded=service.guarded)  # type: ignore[method-assign]
    app.include_router(predict.router)
    app.include_router(triage.router)
    app.include_router(about.router)
    app.include_router(docs.router)
    app.include_router(viewer.router)
    app.include_router(watch.router)
    if settings.oidc is not None:
        app.include_router(login.router)
    if archive is not None:
        app.state.archive = archive
        app.state.puller = puller
        app.state.pulling = pulling
        app.state.pull_places = threading.BoundedSemaphore(_MAX_REQUESTED_PULLS)
        app.include_router(dicomweb.router, dependencies=[Depends(access.protect_patients)])
        app.include_router(studies.router)
        app.include_router(archived_images.router)
        app.include_router(labels.router)
        from cxrserve.api import quarantine  # needs the extra [pacs]

        app.include_router(quarantine.router)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "X-Request-ID", "traceparent"],
            expose_headers=["ETag", "Retry-After", "X-Request-ID"],
        )
    app.add_middleware(RequestMiddleware)
    problems.install(app)
    return app
