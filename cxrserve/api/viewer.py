"""The viewer: its page at `/`, its parts below `/viewer/`, and `POST /display`, the picture it shows."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from cxrserve.api import openapi, upload
from cxrserve.api.about import REPORT_FILE, REPORT_PATH
from cxrserve.api.record import record_of
from cxrserve.api.service import Service, Slot, service_of
from cxrserve.imaging.displayed import DisplayedImage

router = APIRouter(tags=["viewer"])

ServiceOf = Annotated[Service, Depends(service_of)]

DISPLAY_TYPE: Final = "application/octet-stream"
_FOLDER: Final = files("cxrserve") / "viewer"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Everything comes from here and nothing goes elsewhere; text can reach the page as text alone.
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
# A bundle's report is one file with its style and pictures inside; it runs nothing and loads nothing.
_REPORT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
_MOST_REPORT_BYTES: Final = 64 * 2**20
_CHUNK_BYTES: Final = 2**20
_LENGTH: Final = struct.Struct("<I")
_ALIGNED_TO: Final = 8  # so that a browser can lay its arrays over the bytes
_PROBE_BYTES: Final = 2**18
_WORTH_IT: Final = 0.8
_NEAR: Final = ("127.", "::1", "::ffff:127.")


@dataclass(frozen=True, slots=True)
class _Part:
    content: bytes
    media_type: str
    etag: str


@cache
def _parts() -> dict[str, _Part]:
    """Every file of the viewer by its path: what is not among them cannot be asked for."""
    return dict(_walk(_FOLDER, ""))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, _Part]]:
    found = []
    for each in folder.iterdir():
        suffix = Path(each.name).suffix
        if each.is_dir():
            found += _walk(each, f"{prefix}{each.name}/")
        elif suffix in _TYPES:
            content = each.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found.append((prefix + each.name, _Part(content, _TYPES[suffix], etag)))
    return found


def _answer(request: Request, path: str) -> Response:
    part = _parts().get(path)
    if part is None:
        raise HTTPException(404)
    headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache", "ETag": part.etag}
    if request.headers.get("if-none-match") == part.etag:
        return Response(status_code=304, headers=headers)
    return Response(part.content, media_type=part.media_type, headers=headers)


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The viewer."""
    return _answer(request, "index.html")


@router.get(REPORT_PATH, include_in_schema=False)
async def report(service: ServiceOf) -> Response:
    """The bundle's own report, where it has one. A page like the others: it holds nothing of anyone."""
    path = service.settings.bundle / REPORT_FILE

    def read() -> bytes | None:
        try:
            if path.is_symlink() or path.stat().st_size > _MOST_REPORT_BYTES:
                return None
            return path.read_bytes()
        except OSError:
            return None

    content = await service.in_thread(read)
    if content is None:
        raise HTTPException(404)
    return Response(
        content,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _REPORT_POLICY},
    )


class About(BaseModel):
    """What a page must know of the service before it asks for anything."""

    worklist: bool


@router.get("/viewer/about", include_in_schema=False)
async def about(request: Request) -> About:
    """Whether there is a worklist to ask for."""
    return About(worklist=getattr(request.app.state, "archive", None) is not None)


@router.get("/viewer/{path:path}", include_in_schema=False)
async def part(request: Request, path: str) -> Response:
    """A page, a script or a style of the viewer."""
    return _answer(request, path)


@router.post(
    "/display",
    response_class=Response,
    summary="A radiograph for a screen: stored values at full depth, and how to show them",
    responses={
        200: {
            "description": "Four bytes, the length of a JSON header, little endian; the header "
            "(`DisplayHeader`), padded with blanks; the samples row by row, little endian; the tables.",
            "content": {DISPLAY_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **openapi.problems(400, 408, 413, 415, 422, 500, 503, 504),
    },
    openapi_extra=openapi.body(upload.RAW_TYPES, several=False),
)
async def display(request: Request, service: ServiceOf) -> Response:
    """Send the file as to /predict; the same limits and refusals.

    The header names the patient where the file does: it goes back to whoever sent the file, and is not kept.
    """
    pipeline = service.pipeline
    with service.slot() as slot:
        [received] = await upload.receive(request, service.settings, most_files=1)
        packs = _is_far(request)

        def shown() -> tuple[list[memoryview], str]:
            image = pipeline.display(bytes(received), timeout_s=service.settings.request_timeout_s)
            return _framed(image, packs=packs)

        chunks, coding = await service.in_thread(shown)
        slot.keep()  # the picture lies in memory until a slow reader has it
    headers = {"Content-Length": str(sum(map(len, chunks))), "Vary": "Accept-Encoding"}
    if coding:
        headers["Content-Encoding"] = coding
    return _Picture(
        slot,
        service.settings.upload_timeout_s,
        _pieces(chunks),
        media_type=DISPLAY_TYPE,
        headers=headers,
    )


class _Picture(StreamingResponse):
    """An answer that holds its request's place until it is sent; one that is read too slowly is cut off."""

    def __init__(self, slot: Slot, patience_s: float, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._slot: Final = slot
        self._patience_s: Final = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any response."""
        try:
            async with asyncio.timeout(self._patience_s):
                await super().__call__(scope, receive, send)
        except TimeoutError:  # the server closes a connection whose answer is not whole
            record_of(scope).outcome = "not-read"
        finally:
            self._slot.free()


def _framed(image: DisplayedImage, *, packs: bool) -> tuple[list[memoryview], str]:
    """The body, and its Content-Encoding: "gzip" where a probe says that it pays, else ""."""
    header = image.header.model_dump_json().encode()
    header += b" " * (-(len(header) + _LENGTH.size) % _ALIGNED_TO)
    start, payload = _LENGTH.pack(len(header)) + header, memoryview(image.payload)
    if not packs or not _shrinks(payload):
        return [memoryview(start), payload], ""
    packer = zlib.compressobj(1, wbits=31)
    return [memoryview(b"".join((packer.compress(start), packer.compress(payload), packer.flush())))], "gzip"


def _shrinks(payload: memoryview) -> bool:
    middle = len(payload) // 2
    probe = payload[middle : middle + _PROBE_BYTES]
    return len(zlib.compress(probe, 1)) < _WORTH_IT * len(probe)


def _is_far(request: Request) -> bool:
    """Over a network compressing takes less time than sending; on this machine, or to a proxy here, more."""
    here = request.client is not None and request.client.host.startswith(_NEAR)
    return not here and "gzip" in request.headers.get("accept-encoding", "")


async def _pieces(chunks: list[memoryview]) -> AsyncIterator[memoryview]:
    for chunk in chunks:
        for start in range(0, len(chunk), _CHUNK_BYTES):
            yield chunk[start : start + _CHUNK_BYTES]
