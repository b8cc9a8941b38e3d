"""Routes of the quarantine: objects that a person has to decide on. They need an archive."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from cxrserve.api import openapi, upload
from cxrserve.api.access import may, protect_patients
from cxrserve.api.paced_response import FileResponse
from cxrserve.api.request_log import RequestRecord, record_of
from cxrserve.api.service import service_of
from cxrserve.api.studies import in_archive, or_404
from cxrserve.archive.quarantine import Decision, QuarantinedObject
from cxrserve.archive.receiving.decisions import Decider
from cxrserve.multipart import DICOM_TYPE

router = APIRouter(prefix="/quarantine", tags=["studies"], dependencies=[Depends(protect_patients)])

Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the object.")]


class ListedObject(QuarantinedObject):
    """A quarantined object as a client sees it."""

    may_decide: bool = Field(description="True where this client has the scope `quarantine`.")


@router.get("", summary="List the quarantine", responses=openapi.problems(401, 403, 503))
async def quarantine(request: Request) -> list[ListedObject]:
    """Objects that were received and are not worked on until a person decides, with both patients.

    Either the study of such an object is stored under another patient, or an image with its UID is stored
    with other content.
    """
    objects = await in_archive(request, lambda archive: archive.quarantine.objects())
    for each in objects:
        _concerns(record_of(request.scope), each)
    may_decide = may(request, "quarantine")
    return [ListedObject(**each.model_dump(), may_decide=may_decide) for each in objects]


@router.get(
    "/{sha256}",
    summary="Get a quarantined object",
    responses={200: {"content": {DICOM_TYPE: {}}}, **openapi.problems(400, 401, 403, 404, 503)},
)
async def quarantined(request: Request, sha256: Digest) -> Response:
    """The DICOM file, byte for byte as it was received."""
    service = await service_of(request)
    each, file = or_404(await in_archive(request, lambda archive: archive.quarantine.open(sha256)))
    _concerns(record_of(request.scope), each)
    return FileResponse(file, upload.pace_of(service.settings), media_type=DICOM_TYPE)


@router.post(
    "/{sha256}/{decision}",
    status_code=204,
    response_class=Response,
    summary="Decide on a quarantined object",
    responses=openapi.problems(400, 401, 403, 503),
)
async def decide(request: Request, sha256: Digest, decision: Decision) -> Response:
    """Do what `cxrserve pacs queue` does.

    `release`: the object is right, and its study is corrected after it. `move`: the stored study is right,
    and the object comes under its patient. `drop`: the object is deleted for good.
    """
    record = record_of(request.scope)
    by = Decider(user=record.client, address=record.address, request=record.request_id, means="viewer")
    await in_archive(request, lambda archive: archive.quarantine.decide(sha256, decision, by))
    record.audited = True
    return Response(status_code=204)


def _concerns(record: RequestRecord, each: QuarantinedObject) -> None:
    """Name both patients in the audit event of this request."""
    record.patient.add(study=each.study_instance_uid, image=each.sop_instance_uid, patient=each.patient_id)
    record.patient.add(patient=each.study_patient_id)
