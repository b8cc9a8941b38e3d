"""STOW-RS: stores DICOM objects in the archive over HTTP (PS3.18 10.5)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from cxrserve import dicom_status
from cxrserve.api import access, openapi
from cxrserve.api.request_log import record_of
from cxrserve.api.service import service_of
from cxrserve.api.stow import MEDIA_TYPE, StoreInstancesResponse
from cxrserve.api.upload import check_encoding, pace_of, too_slow
from cxrserve.archive.receipt import Source
from cxrserve.errors import CxrserveError, RequestTimeout
from cxrserve.imaging.dicom.identity import Identity, identity
from cxrserve.imaging.limits import Limits
from cxrserve.multipart import DICOM_TYPE, Part, RelatedReader

if TYPE_CHECKING:  # needs the extra [pacs]
    from cxrserve.archive.archive import Archive

router = APIRouter(prefix="/dicom-web", tags=["DICOMweb"], dependencies=[Depends(access.protect_patients)])
_audit: Final = logging.getLogger("cxrserve.audit")
_log: Final = logging.getLogger("cxrserve.api")
_MAX_PARTS: Final = 1000

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "All objects are stored.", "content": {MEDIA_TYPE: {}}},
    202: {
        "description": "Some objects are stored; FailedSOPSequence lists the others.",
        "content": {MEDIA_TYPE: {}},
    },
    409: {"description": "No object is stored; FailedSOPSequence says why.", "content": {MEDIA_TYPE: {}}},
    **openapi.problems(400, 408, 413, 415, 503),
}
_Study = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$", description="Study Instance UID.")]


@router.post("/studies", responses=_ANSWERS, summary="Store objects (STOW-RS)")
async def store(request: Request) -> Response:
    """Store the objects of a `multipart/related; type="application/dicom"` body and queue their work."""
    return await _store(request, None)


@router.post("/studies/{study}", responses=_ANSWERS, summary="Store objects of one study (STOW-RS)")
async def store_study(request: Request, study: _Study) -> Response:
    """As without the study, but refuse objects of other studies."""
    return await _store(request, study)


async def _store(request: Request, study: str | None) -> Response:
    service = await service_of(request)
    settings = service.settings
    check_encoding(request)
    body = RelatedReader(
        request.headers.get("content-type", ""), max_parts=_MAX_PARTS, max_bytes=settings.max_upload_bytes
    )
    intake = _Intake(request, study, Limits(max_pixels=settings.max_pixels))
    clock = asyncio.get_running_loop().time
    with service.stores.begin(record_of(request.scope).address) as transfer:
        pace = pace_of(settings)  # for the whole body, not for each part
        held = 0  # bytes of the part that is being received
        try:
            async with (
                asyncio.timeout_at(pace.deadline_s) as timeout,
                aclosing(request.stream()) as chunks,
            ):
                async for chunk in chunks:
                    started = clock()
                    timeout.reschedule(None)
                    held += len(chunk)
                    transfer.hold(held)
                    await service.in_thread(partial(body.write, chunk))
                    while body.complete:
                        await service.in_thread(partial(intake.store, body.complete.popleft()))
                        held = 0
                    pace.moved(len(chunk))
                    pace.paused(clock() - started)  # the archive's time does not count as the sender's
                    timeout.reschedule(pace.deadline_s)
        except TimeoutError:
            raise RequestTimeout(too_slow(settings)) from None
        body.close()
    response = intake.response
    return Response(response.json(), status_code=response.status, media_type=MEDIA_TYPE)


class _Intake:
    """Stores the parts of one request in the archive."""

    def __init__(self, request: Request, study: str | None, limits: Limits) -> None:
        self.response: Final = StoreInstancesResponse()
        self._archive: Final[Archive] = request.app.state.archive
        self._source: Final = Source(protocol="stow", address=request.client.host if request.client else "")
        self._study: Final = study
        self._patient: Final = record_of(request.scope).patient
        self._limits: Final = limits

    def store(self, part: Part) -> None:
        """Store one part, or add the reason why not to the response."""
        uids: Identity | None = None
        status, outcome = dicom_status.SUCCESS, ""
        try:
            if part.content_type not in ("", DICOM_TYPE):
                status, outcome = dicom_status.CANNOT_UNDERSTAND, "unsupported-media-type"
            else:
                data = bytes(part.content)
                uids = identity(data, self._limits)
                status, outcome = self._receive(data, uids)
        except CxrserveError as error:
            status, outcome = error.dimse_status, error.slug
        except Exception as error:
            _log.error("an object could not be stored: %s", type(error).__name__)
            status, outcome = CxrserveError.dimse_status, CxrserveError.slug
        if uids is not None:
            self._patient.add(study=uids.study_instance_uid, image=uids.sop_instance_uid)
        if status != dicom_status.SUCCESS:
            self.response.add_failed(uids, status)
        elif uids is not None:
            self.response.add_stored(uids)
        _audit.info(
            "stow address=%s status=%04X outcome=%s bytes=%d",
            self._source.address or "-",
            status,
            outcome,
            len(part.content),
        )

    def _receive(self, data: bytes, uids: Identity) -> tuple[int, str]:
        if self._study is not None and uids.study_instance_uid != self._study:
            return dicom_status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "another-study"
        receipt = self._archive.receive(data, self._source)
        return receipt.dimse_status, receipt.outcome
