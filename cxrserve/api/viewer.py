"""Routes of the viewer: its page at `/`, its files below `/viewer/`, and `POST /display` for its images."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cxrserve.api import openapi, upload
from cxrserve.api.about import REPORT_FILE, REPORT_PATH, read_report
from cxrserve.api.compression import compressed, wants_gzip
from cxrserve.api.login import user_of
from cxrserve.api.paced_response import PacedResponse
from cxrserve.api.predict_request import Take
from cxrserve.api.request_log import record_of
from cxrserve.api.service import Service, service_of
from cxrserve.api.transfers import Pace, Transfer
from cxrserve.imaging.display_header import DisplayedImage
from cxrserve.scheduling.admission import Reservation
from cxrserve.schema import Strict

router = APIRouter(tags=["viewer"])

ServiceOf = Annotated[Service, Depends(service_of)]

DISPLAY_TYPE: Final = "application/octet-stream"
UPLOAD_HEADER: Final = "X-Upload"
_FOLDER: Final = files("cxrserve") / "viewer"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
# The page loads everything from this service, sends nothing elsewhere, and inserts text only as text.
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
# A bundle's report is one file that includes its style and pictures; it runs no script and loads nothing.
_REPORT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
_CHUNK_BYTES: Final = 2**20
_LENGTH: Final = struct.Struct("<I")
_ALIGNMENT: Final = 8  # typed arrays in the browser need aligned offsets
_PROBE_BYTES: Final = 2**18
_MAX_COMPRESSED_SHARE: Final = 0.8  # of the probe; else compression is not worth its time


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


@cache
def _files() -> dict[str, _File]:
    """All files of the viewer, by path. No other file can be requested."""
    return dict(_walk(_FOLDER, ""))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, _File]]:
    entries = []
    for entry in folder.iterdir():
        suffix = Path(entry.name).suffix
        if entry.is_dir():
            entries += _walk(entry, f"{prefix}{entry.name}/")
        elif suffix in _TYPES:
            content = entry.read_bytes()
            etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'  # weak: of both encodings
            entries.append((prefix + entry.name, _File(content, _TYPES[suffix], etag)))
    return entries


def _file_response(request: Request, path: str) -> Response:
    file = _files().get(path)
    if file is None:
        raise HTTPException(404)
    content, headers = _packed(path) if wants_gzip(request) else (file.content, {"Vary": "Accept-Encoding"})
    headers = {
        **headers,
        "Content-Security-Policy": _PAGE_POLICY,
        "Cache-Control": "no-cache",
        "ETag": file.etag,
    }
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=file.media_type, headers=headers)


@cache
def _packed(path: str) -> tuple[bytes, dict[str, str]]:
    """A file's content and headers with gzip, packed once and well."""
    return compressed(_files()[path].content, wanted=True, level=9)


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page of the viewer."""
    return _file_response(request, "index.html")


@router.get(REPORT_PATH, include_in_schema=False)
async def report(service: ServiceOf) -> Response:
    """The bundle's own report, if it has one. It contains no patient data."""
    content = await service.in_thread(partial(read_report, service.settings.bundle / REPORT_FILE))
    if content is None:
        raise HTTPException(404)
    return Response(
        content,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _REPORT_POLICY},
    )


class About(BaseModel):
    """Features of the service that the page asks for first."""

    worklist: bool
    login: bool
    user: str


@router.get("/viewer/about", include_in_schema=False)
async def about(request: Request, service: ServiceOf) -> About:
    """Report whether the service has a worklist and a sign-in, and who has signed in."""
    user = user_of(request, service)
    return About(
        worklist=getattr(request.app.state, "archive", None) is not None,
        login=service.single_sign_on is not None and service.single_sign_on.login is not None,
        user="" if user is None else user.name,
    )


@router.get("/viewer/{path:path}", include_in_schema=False)
async def file(request: Request, path: str) -> Response:
    """A page, script or style sheet of the viewer."""
    return _file_response(request, path)


class DisplayQuery(Strict):
    """The query string of /display. An unknown parameter is an error."""

    keep: bool = Field(
        False,
        description="Holds the file in memory for a minute, where there is room: the header `X-Upload` of "
        "the answer then names it, and `POST /predict` with that name as `upload` needs no body.",
    )


DISPLAYED: Final[dict[str, Any]] = {
    "description": "Four bytes with the length of a JSON header, little endian; the header "
    "(`DisplayHeader`), padded with blanks; the samples row by row, little endian; the tables.",
    "content": {DISPLAY_TYPE: {"schema": {"type": "string", "format": "binary"}}},
}


@router.post(
    "/display",
    response_class=Response,
    summary="Decode a radiograph for display: stored values at full depth, and how to show them",
    responses={
        200: {
            **DISPLAYED,
            "headers": {
                UPLOAD_HEADER: {
                    "description": "With `keep`: the name of the file for `POST /predict`. Absent where "
                    "there is no memory for it.",
                    "schema": {"type": "string"},
                }
            },
        },
        **openapi.problems(400, 408, 413, 415, 422, 500, 503, 504),
    },
    openapi_extra=openapi.body(upload.RAW_TYPES, several=False),
)
async def display(request: Request, query: Annotated[DisplayQuery, Query()], service: ServiceOf) -> Response:
    """Send the file as to /predict; the limits and refusals are the same.

    If the file names the patient, so does the header. It is returned to the client and not stored.
    """

    async def receive(transfer: Transfer) -> bytes:
        return bytes((await upload.receive(request, service.settings, transfer, max_files=1)).pop())

    return await displayed(request, service, receive, keep=query.keep)


async def displayed(request: Request, service: Service, take: Take, *, keep: bool = False) -> Response:
    """Decode the file that `take` takes, and answer with its pixels.

    Args:
        keep: hold the file for a prediction.
    """
    pipeline = service.pipeline
    record = record_of(request.scope)
    with service.reserve() as reservation, service.uploads.begin(record.address) as transfer:
        received = [await take(transfer)]
        compress = wants_gzip(request)

        def decode() -> tuple[bytes, list[memoryview], str]:
            data = received.pop()
            record.received(data)
            image = pipeline.display(data, timeout_s=service.settings.request_timeout_s)
            return data, *_frame(image, compress=compress)

        data, chunks, coding = await service.in_thread(decode)
        size = sum(map(len, chunks))
        transfer.hold(size)
        reservation.keep()  # the image stays in memory until a slow client has read it
        transfer.keep()
        name = service.kept.keep(record, data) if keep else None
    headers = {"Content-Length": str(size), "Vary": "Accept-Encoding"}
    if name is not None:
        headers[UPLOAD_HEADER] = name
    if coding:
        headers["Content-Encoding"] = coding
    return _ImageResponse(
        reservation,
        transfer,
        upload.pace_of(service.settings),
        _split(chunks),
        media_type=DISPLAY_TYPE,
        headers=headers,
    )


class _ImageResponse(PacedResponse):
    """A response that holds its request's place and memory until it is sent."""

    def __init__(
        self, reservation: Reservation, transfer: Transfer, pace: Pace, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(pace, *args, **kwargs)
        self._reservation: Final = reservation
        self._transfer: Final = transfer

    def release(self) -> None:
        """Give back both."""
        self._reservation.release()
        self._transfer.release()


def _frame(image: DisplayedImage, *, compress: bool) -> tuple[list[memoryview], str]:
    """The body and its Content-Encoding: "gzip" if a probe shows that compression pays, else ""."""
    header = image.header.model_dump_json().encode()
    header += b" " * (-(len(header) + _LENGTH.size) % _ALIGNMENT)
    start, payload = _LENGTH.pack(len(header)) + header, memoryview(image.payload)
    if not compress or not _is_compressible(payload):
        return [memoryview(start), payload], ""
    compressor = zlib.compressobj(1, wbits=31)
    return [
        memoryview(b"".join((compressor.compress(start), compressor.compress(payload), compressor.flush())))
    ], "gzip"


def _is_compressible(payload: memoryview) -> bool:
    middle = len(payload) // 2
    probe = payload[middle : middle + _PROBE_BYTES]
    return len(zlib.compress(probe, 1)) < _MAX_COMPRESSED_SHARE * len(probe)


async def _split(chunks: list[memoryview]) -> AsyncIterator[memoryview]:
    for chunk in chunks:
        for start in range(0, len(chunk), _CHUNK_BYTES):
            yield chunk[start : start + _CHUNK_BYTES]
