"""Routes of the worklist: received studies, their images and results. They need an archive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cxrserve.api import openapi, upload
from cxrserve.api.access import protect_patients
from cxrserve.api.paced_response import FileResponse
from cxrserve.api.request_log import record_of
from cxrserve.api.service import service_of
from cxrserve.errors import Busy, RequestError
from cxrserve.imaging.dicom.identity import is_uid
from cxrserve.multipart import DICOM_TYPE, related_body
from cxrserve.schema import Strict

if TYPE_CHECKING:  # needs the extra [pacs]
    from cxrserve.archive.archive import Archive
    from cxrserve.archive.destination import Puller

router = APIRouter(prefix="/studies", tags=["studies"], dependencies=[Depends(protect_patients)])

_FHIR: Final = "application/fhir+json"
_UID = r"^[0-9.]{1,64}$"
_FAILURES: Final = (400, 401, 403, 404, 503)
_Result = TypeVar("_Result")

StudyUid = Annotated[str, Path(pattern=_UID, description="Study Instance UID.")]
SopUid = Annotated[str, Path(pattern=_UID, description="SOP Instance UID of a received image.")]


class StudiesQuery(Strict):
    """The query string of /studies. An unknown parameter is an error."""

    search: str = Field(
        "",
        max_length=64,
        description="Part of the patient's name or ID, the accession number or the description, in any case; "
        "or a complete Study Instance UID.",
    )
    state: Literal["", "receiving", "waiting", "working", "done", "failed", "refused"] = Field(
        "", description="Return only studies in this state."
    )
    limit: int = Field(100, ge=1, le=1000, description="Most studies to return.")


class Pulled(BaseModel):
    """The result of fetching a study from a PACS."""

    objects: int = Field(description="Number of objects that arrived.")


@router.get("", summary="List the studies", responses=openapi.problems(*_FAILURES))
async def studies(
    request: Request,
    query: Annotated[StudiesQuery, Query()],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Studies, newest first, priors that were fetched last; and how many objects lie in quarantine.

    Poll with If-None-Match: while nothing changes, 304 costs almost nothing.
    """
    patient = record_of(request.scope).patient
    patient.query = request.url.query

    def work(archive: Archive) -> Response:
        tag = f'W/"{archive.worklist.version()}"'
        if if_none_match is not None and tag in if_none_match:
            return Response(status_code=304, headers={"ETag": tag})
        studies_ = archive.worklist.studies(search=query.search, state=query.state or None, limit=query.limit)
        for entry in studies_:
            patient.add(
                study=entry.study_instance_uid, patient=entry.patient_id, accession=entry.accession_number
            )
        entries = ",".join(study.model_dump_json() for study in studies_)
        body = f'{{"studies":[{entries}],"quarantined":{archive.quarantine.count()}}}'
        return Response(body, media_type="application/json", headers={"ETag": tag})

    return await in_archive(request, work)


@router.get("/{study}", summary="Get one study", responses=openapi.problems(*_FAILURES))
async def study(
    request: Request, study: StudyUid, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """A study with its images, in order of arrival."""

    def work(archive: Archive) -> Response:
        tag = f'W/"{archive.worklist.version()}"'
        if if_none_match is not None and tag in if_none_match:
            return Response(status_code=304, headers={"ETag": tag})
        details = or_404(archive.worklist.study(study))
        return Response(details.model_dump_json(), media_type="application/json", headers={"ETag": tag})

    return await in_archive(request, work)


@router.get(
    "/{study}/images/{image}",
    summary="Get a received image",
    responses={200: {"content": {DICOM_TYPE: {}}}, **openapi.problems(*_FAILURES, 410, 500)},
)
async def image(request: Request, study: StudyUid, image: SopUid) -> Response:
    """The DICOM file, byte for byte as it was stored."""
    service = await service_of(request)
    file = or_404(await in_archive(request, lambda archive: archive.worklist.image(study, image)))
    return FileResponse(file, upload.pace_of(service.settings), media_type=DICOM_TYPE)


@router.get(
    "/{study}/images/{image}/answer",
    summary="Get the prediction of an image",
    responses=openapi.problems(*_FAILURES),
)
async def answer(request: Request, study: StudyUid, image: SopUid) -> Response:
    """The answer as POST /predict gives it; 404 while the image waits, or if it was refused."""
    data = await in_archive(request, lambda archive: archive.worklist.answer(study, image))
    return Response(or_404(data), media_type="application/json")


@router.get(
    "/{study}/results",
    summary="Get the DICOM results",
    responses={200: {"content": {"multipart/related": {}}}, **openapi.problems(*_FAILURES)},
)
async def results(request: Request, study: StudyUid) -> Response:
    """Overlays, presentation states and the newest report, as sent to the destinations (PS3.18 8.7.3.1)."""
    objects = await in_archive(request, lambda archive: archive.worklist.results(study))
    body = related_body(or_404(objects or None))
    return Response(body.content, headers={"Content-Type": body.media_type})


@router.get(
    "/{study}/fhir",
    summary="Get the study as FHIR R4",
    responses={200: {"content": {_FHIR: {}}}, **openapi.problems(*_FAILURES)},
)
async def fhir(request: Request, study: StudyUid) -> Response:
    """A DiagnosticReport with its Observations."""
    bundle = (await service_of(request)).pipeline.predictor.bundle
    data = await in_archive(request, lambda archive: archive.worklist.fhir(study, bundle))
    return Response(or_404(data), media_type=_FHIR)


@router.post("/{study}", summary="Fetch a study from the PACS", responses=openapi.problems(*_FAILURES, 502))
async def pull(request: Request, study: StudyUid) -> Pulled:
    """Fetch the images of a study from the PACS; they are processed like any other received image."""
    record_of(request.scope).patient.add(study=study)
    puller: Puller | None = request.app.state.puller
    if puller is None:
        raise RequestError(
            "the rules name no PACS to fetch from. Add one under `pull`, or send the study to this node."
        )
    if not is_uid(study):
        raise RequestError("the path is not a Study Instance UID (PS3.5 9.1). Use the UID from the PACS.")
    places: BoundedSemaphore = request.app.state.pull_places
    if not places.acquire(blocking=False):
        raise Busy("too many studies are being fetched from the PACS. Ask again later.", retry_after_s=30)
    # A PACS may take minutes, so pulls have their own threads and never delay the worklist. A client that
    # leaves ends no pull, so the place is free when the thread is.
    pulling = request.app.state.pulling.submit(puller, study)
    pulling.add_done_callback(lambda _: places.release())
    return Pulled(objects=await asyncio.wrap_future(pulling))


async def in_archive(request: Request, work: Callable[[Archive], _Result]) -> _Result:
    """Run `work` on a thread, and note the study and patient of the path for the audit trail."""
    archive: Archive = request.app.state.archive
    patient = record_of(request.scope).patient
    study, image = (request.path_params.get(name, "") for name in ("study", "image"))

    def audited() -> _Result:
        result = work(archive)
        if study and (entry := archive.worklist.study(study)) is not None:
            patient.add(patient=entry.patient_id, accession=entry.accession_number)
        return result

    patient.add(study=study, image=image)
    # Predictions have their own threads, so this never waits for one.
    return await asyncio.to_thread(audited)


def or_404(result: _Result | None) -> _Result:
    """The result; a 404 where there is none."""
    if result is None:
        raise HTTPException(404)
    return result
