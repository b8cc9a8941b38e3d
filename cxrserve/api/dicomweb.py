"""STOW-RS: DICOM objects over HTTP into the archive (PS3.18 10.5)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from cxrserve.api import access, openapi
from cxrserve.api.service import service_of
from cxrserve.api.stow import DICOM, MEDIA_TYPE, Answer, Part, Related
from cxrserve.api.upload import check_encoding
from cxrserve.archive.receipt import Source
from cxrserve.errors import CxrserveError, RequestTimeout
from cxrserve.imaging.dicom.identity import Identity, identity
from cxrserve.imaging.limits import Limits

if TYPE_CHECKING:  # what it stands on is installed with the extra [pacs] only
    from cxrserve.archive.archive import Archive

router = APIRouter(prefix="/dicom-web", tags=["DICOMweb"], dependencies=[Depends(access.protect_patients)])
_audit: Final = logging.getLogger("cxrserve.audit")
_log: Final = logging.getLogger("cxrserve.api")
_MOST_PARTS: Final = 1000
_CANNOT_UNDERSTAND: Final = 0xC000
_MISMATCH: Final = 0xA900
_REFUSED: Final = {"refused": 0x0124, "quarantined": 0x0111}  # as the DICOM node answers

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "All objects are kept.", "content": {MEDIA_TYPE: {}}},
    202: {
        "description": "Some are kept; the others stand in FailedSOPSequence.",
        "content": {MEDIA_TYPE: {}},
    },
    409: {"description": "None is kept; FailedSOPSequence says why.", "content": {MEDIA_TYPE: {}}},
    **openapi.problems(400, 408, 413, 415, 503),
}
_Study = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$", description="Study Instance UID.")]


@router.post("/studies", responses=_ANSWERS, summary="Store objects (STOW-RS)")
async def store(request: Request) -> Response:
    """Keep the objects of a `multipart/related; type="application/dicom"` body, and work on them."""
    return await _stored(request, None)


@router.post("/studies/{study}", responses=_ANSWERS, summary="Store objects of one study (STOW-RS)")
async def store_study(request: Request, study: _Study) -> Response:
    """As without the study; objects of other studies are refused."""
    return await _stored(request, study)


async def _stored(request: Request, study: str | None) -> Response:
    service = await service_of(request)
    settings = service.settings
    check_encoding(request)
    body = Related(
        request.headers.get("content-type", ""), most_parts=_MOST_PARTS, most_bytes=settings.max_upload_bytes
    )
    intake = _Intake(request, study, Limits(max_pixels=settings.max_pixels))
    with service.slot():
        try:
            async with (
                asyncio.timeout(settings.upload_timeout_s) as due,
                aclosing(request.stream()) as chunks,
            ):
                clock = asyncio.get_running_loop().time
                ends = clock() + settings.upload_timeout_s  # for the whole body, however many its parts are
                async for chunk in chunks:
                    started = clock()
                    due.reschedule(None)
                    await service.in_thread(partial(body.write, chunk))
                    while body.complete:
                        await service.in_thread(partial(intake.take, body.complete.popleft()))
                    ends += clock() - started  # what the archive takes is not the sender's time
                    due.reschedule(ends)
        except TimeoutError:
            raise RequestTimeout(
                f"the body was not complete after {settings.upload_timeout_s:g} s. Send fewer objects in one "
                "request or over a faster line, or have upload_timeout_s raised."
            ) from None
        body.close()
    answer = intake.answer
    return Response(answer.json(), status_code=answer.status, media_type=MEDIA_TYPE)


class _Intake:
    """Puts the parts of one request into the archive."""

    def __init__(self, request: Request, study: str | None, limits: Limits) -> None:
        self.answer: Final = Answer()
        self._archive: Final[Archive] = request.app.state.archive
        self._source: Final = Source(protocol="stow", address=request.client.host if request.client else "")
        self._study: Final = study
        self._limits: Final = limits

    def take(self, part: Part) -> None:
        """Keep one part, or note why not."""
        found: Identity | None = None
        reason, outcome = 0, ""
        try:
            if part.content_type not in ("", DICOM):
                reason, outcome = _CANNOT_UNDERSTAND, "unsupported-media-type"
            else:
                data = bytes(part.data)
                found = identity(data, self._limits)
                reason, outcome = self._keep(data, found)
        except CxrserveError as error:
            reason, outcome = error.dimse_status, error.slug
        except Exception as error:
            _log.error("an object could not be kept: %s", type(error).__name__)
            reason, outcome = CxrserveError.dimse_status, CxrserveError.slug
        if reason:
            self.answer.fail(found, reason)
        elif found is not None:
            self.answer.keep(found)
        _audit.info(
            "stow address=%s status=%04X outcome=%s bytes=%d",
            self._source.address or "-",
            reason,
            outcome,
            len(part.data),
        )

    def _keep(self, data: bytes, found: Identity) -> tuple[int, str]:
        if self._study is not None and found.study_instance_uid != self._study:
            return _MISMATCH, "another-study"
        receipt = self._archive.receive(data, self._source)
        return _REFUSED.get(receipt.outcome, 0), receipt.outcome
