"""Routes of readers' labels: what they say about the findings of a study. They need an archive."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from cxrserve.api import openapi, upload
from cxrserve.api.access import protect_patients
from cxrserve.api.request_log import record_of
from cxrserve.api.service import service_of
from cxrserve.api.studies import StudyUid, in_archive, or_404
from cxrserve.reports.labels import GivenLabels, StudyLabels

router = APIRouter(prefix="/studies", tags=["studies"], dependencies=[Depends(protect_patients)])


@router.get(
    "/{study}/labels", summary="Get the readers' labels", responses=openapi.problems(400, 401, 403, 404, 503)
)
async def labels(request: Request, study: StudyUid) -> StudyLabels:
    """Readers' labels of the findings of a study: the newest of each finding, and all of them."""
    return or_404(await in_archive(request, lambda archive: archive.labels.of(study)))


@router.post(
    "/{study}/labels",
    summary="Label findings",
    responses=openapi.problems(400, 401, 403, 404, 408, 413, 415, 503),
    openapi_extra=openapi.json_body(GivenLabels),
)
async def give_labels(request: Request, study: StudyUid) -> StudyLabels:
    """Add labels, with the name of the client or user and the time. Nothing uses them by itself.

    Earlier labels of the same findings stay in `history`. `cxrserve site labels` exports the newest ones.
    """
    service = await service_of(request)
    record = record_of(request.scope)
    with service.uploads.begin(record.address) as transfer:
        given = await upload.receive_json(request, service.settings, transfer, GivenLabels)
    reader = record.client
    return or_404(
        await in_archive(request, lambda archive: archive.labels.give(study, given.labels, reader=reader))
    )
