"""Routes of the quarantine: objects that a person has to decide on. They need an archive."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from cxrserve.api import openapi
from cxrserve.api.access import protect_patients
from cxrserve.api.request_log import record_of
from cxrserve.api.studies import in_archive
from cxrserve.archive.quarantine import Decision, QuarantinedObject
from cxrserve.archive.receiving.decisions import Decider

router = APIRouter(prefix="/quarantine", tags=["studies"], dependencies=[Depends(protect_patients)])

Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the object.")]


@router.get("", summary="List the quarantine", responses=openapi.problems(401, 403, 503))
async def quarantine(request: Request) -> list[QuarantinedObject]:
    """Objects that were received and are not worked on until a person decides, with both patients.

    Either the study of such an object is stored under another patient, or an image with its UID is stored
    with other content.
    """
    patient = record_of(request.scope).patient
    objects = await in_archive(request, lambda archive: archive.quarantine.objects())
    for each in objects:
        patient.add(study=each.study_instance_uid, image=each.sop_instance_uid, patient=each.patient_id)
        patient.add(patient=each.study_patient_id)
    return objects


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
