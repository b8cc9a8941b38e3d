"""The worklist: which studies were received, and what came of them. Only where there is an archive."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from cxrserve.api import openapi
from cxrserve.api.access import protect_patients
from cxrserve.api.service import service_of
from cxrserve.errors import RequestError
from cxrserve.imaging.dicom import is_uid

if TYPE_CHECKING:  # what it stands on is installed with the extra [pacs] only
    from cxrserve.archive.archive import Archive
    from cxrserve.archive.destination import Puller

router = APIRouter(prefix="/studies", tags=["studies"], dependencies=[Depends(protect_patients)])

_DICOM: Final = "application/dicom"
_FHIR: Final = "application/fhir+json"
_UID = r"^[0-9.]{1,64}$"
_FAILURES: Final = (400, 401, 403, 404, 503)
_Result = TypeVar("_Result")

StudyUid = Annotated[str, Path(pattern=_UID, description="Study Instance UID.")]
SopUid = Annotated[str, Path(pattern=_UID, description="SOP Instance UID of a received image.")]


class StudiesQuery(BaseModel):
    """The query string."""

    model_config = ConfigDict(extra="forbid")

    search: str = Field(
        "",
        max_length=64,
        description="Part of the patient's name or ID, the accession number or the description, in any case; "
        "or a whole Study Instance UID.",
    )
    state: Literal["", "receiving", "waiting", "working", "done", "failed", "refused"] = Field(
        "", description="Only studies in this state."
    )
    limit: int = Field(100, ge=1, le=1000, description="Most studies in the answer.")


class Pulled(BaseModel):
    """What a PACS gave."""

    objects: int = Field(description="How many objects arrived.")


@router.get("", summary="Which studies?", responses=openapi.problems(*_FAILURES))
async def studies(
    request: Request,
    query: Annotated[StudiesQuery, Query()],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Studies, newest first. Poll it with If-None-Match: 304 costs next to nothing while nothing changes."""

    def work(archive: Archive) -> Response:
        tag = f'W/"{archive.catalogue.version()}"'
        if if_none_match is not None and tag in if_none_match:
            return Response(status_code=304, headers={"ETag": tag})
        found = archive.catalogue.studies(search=query.search, state=query.state or None, limit=query.limit)
        body = f'{{"studies":[{",".join(each.model_dump_json() for each in found)}]}}'
        return Response(body, media_type="application/json", headers={"ETag": tag})

    return await _in_archive(request, work)


@router.get("/{study}", summary="One study", responses=openapi.problems(*_FAILURES))
async def study(
    request: Request, study: StudyUid, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """A study with its images, in the order they arrived."""

    def work(archive: Archive) -> Response:
        tag = f'W/"{archive.catalogue.version()}"'
        if if_none_match is not None and tag in if_none_match:
            return Response(status_code=304, headers={"ETag": tag})
        found = _there(archive.catalogue.study(study))
        return Response(found.model_dump_json(), media_type="application/json", headers={"ETag": tag})

    return await _in_archive(request, work)


@router.get(
    "/{study}/images/{image}",
    summary="A received image",
    responses={200: {"content": {_DICOM: {}}}, **openapi.problems(*_FAILURES, 410, 500)},
)
async def image(request: Request, study: StudyUid, image: SopUid) -> Response:
    """The DICOM file, byte for byte as it was kept."""
    data = await _in_archive(request, lambda archive: archive.catalogue.image(study, image))
    return Response(_there(data), media_type=_DICOM)


@router.get(
    "/{study}/images/{image}/answer", summary="An image's answer", responses=openapi.problems(*_FAILURES)
)
async def answer(request: Request, study: StudyUid, image: SopUid) -> Response:
    """What POST /predict would have answered; 404 while the image waits, and where it was refused."""
    data = await _in_archive(request, lambda archive: archive.catalogue.answer(study, image))
    return Response(_there(data), media_type="application/json")


@router.get(
    "/{study}/results",
    summary="The DICOM results",
    responses={200: {"content": {"multipart/related": {}}}, **openapi.problems(*_FAILURES)},
)
async def results(request: Request, study: StudyUid) -> Response:
    """Overlays, presentation states and the newest report, as the destinations get them (PS3.18 8.7.3.1)."""
    found = await _in_archive(request, lambda archive: archive.catalogue.results(study))
    return _related(_there(found or None))


@router.get(
    "/{study}/fhir",
    summary="The study as FHIR R4",
    responses={200: {"content": {_FHIR: {}}}, **openapi.problems(*_FAILURES)},
)
async def fhir(request: Request, study: StudyUid) -> Response:
    """A DiagnosticReport that contains its Observations."""
    bundle = (await service_of(request)).pipeline.predictor.bundle
    data = await _in_archive(request, lambda archive: archive.catalogue.fhir(study, bundle))
    return Response(_there(data), media_type=_FHIR)


@router.post("/{study}", summary="Fetch a study from the PACS", responses=openapi.problems(*_FAILURES, 502))
async def pull(request: Request, study: StudyUid) -> Pulled:
    """Ask the PACS for the images of a study; they are worked on like any that come by themselves."""
    puller: Puller | None = request.app.state.puller
    if puller is None:
        raise RequestError("no PACS to fetch from is set in the rules. Name one, or send the study here.")
    if not is_uid(study):
        raise RequestError("the path names no Study Instance UID (PS3.5 9.1). Give it as the PACS does.")
    # A PACS may take minutes: on threads of its own, so that the worklist never waits for one.
    objects = await asyncio.get_running_loop().run_in_executor(request.app.state.pulling, puller, study)
    return Pulled(objects=objects)


async def _in_archive(request: Request, work: Callable[[Archive], _Result]) -> _Result:
    archive: Archive = request.app.state.archive
    return await asyncio.to_thread(
        work, archive
    )  # not behind the predictions, which have threads of their own


def _there(found: _Result | None) -> _Result:
    if found is None:
        raise HTTPException(404)
    return found


def _related(parts: Sequence[bytes]) -> Response:
    """multipart/related (RFC 2387) of DICOM objects."""
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: {_DICOM}\r\n\r\n".encode()
    body = b"".join(piece for part in parts for piece in (head, part, b"\r\n"))
    content_type: Any = f'multipart/related; type="{_DICOM}"; boundary={boundary}'
    return Response(body + f"--{boundary}--\r\n".encode(), headers={"Content-Type": content_type})
