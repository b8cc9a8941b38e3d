"""Routes that display and predict an image of the archive by its UIDs: its file does not travel again."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from cxrserve.api import openapi
from cxrserve.api.access import protect_patients
from cxrserve.api.predict import FORMS_OF_AN_IMAGE, PredictQuery, predict_image
from cxrserve.api.predict_request import FAILURES, Take
from cxrserve.api.service import Service, service_of
from cxrserve.api.studies import SopUid, StudyUid, in_archive, or_404
from cxrserve.api.transfers import Transfer
from cxrserve.api.viewer import DISPLAYED, displayed
from cxrserve.errors import TooLarge
from cxrserve.reports.answer import Answer

router = APIRouter(
    prefix="/studies/{study}/images/{image}", tags=["studies"], dependencies=[Depends(protect_patients)]
)
_GONE: Final = (401, 403, 404, 410)

ServiceOf = Annotated[Service, Depends(service_of)]


@router.get(
    "/display",
    response_class=Response,
    summary="Decode a received image for display",
    responses={200: DISPLAYED, **openapi.problems(*_GONE, 413, 422, 500, 503, 504)},
)
async def display_received(request: Request, study: StudyUid, image: SopUid, service: ServiceOf) -> Response:
    """The same answer as that of POST /display for the file of the image."""
    return await displayed(request, service, _archived(request, service, study, image))


@router.post(
    "/predict",
    response_model=Answer,
    summary="Predict a received image",
    responses=openapi.problems(*FAILURES, *_GONE) | FORMS_OF_AN_IMAGE,
)
async def predict_received(
    request: Request,
    study: StudyUid,
    image: SopUid,
    query: Annotated[PredictQuery, Query()],
    service: ServiceOf,
) -> Response:
    """The same answer as that of POST /predict for the file of the image, without a body.

    It needs the scopes `read` and `predict`. The answer is not stored; the stored one is at
    `/studies/{study}/images/{image}/answer`.
    """
    return await predict_image(request, query, service, _archived(request, service, study, image))


def _archived(request: Request, service: Service, study: str, image: str) -> Take:
    """Take the file of an image from the archive.

    Taking it raises:
        HTTPException: 404, there is no such image.
        ObjectExpired: it was deleted by retention.
        TooLarge: it has more bytes than the service would take in a request.
    """

    async def take(transfer: Transfer) -> bytes:
        file = or_404(await in_archive(request, lambda archive: archive.worklist.image(study, image)))
        with file:
            size = os.fstat(file.fileno()).st_size
            most = service.settings.max_upload_bytes
            if size > most:
                raise TooLarge(f"the image has {size} bytes, more than CXRSERVE_MAX_UPLOAD_BYTES={most}.")
            transfer.hold(size)
            # Not on the threads of predictions, which may all be at work.
            return await asyncio.to_thread(file.read)

    return take
