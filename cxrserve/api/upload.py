"""Receives the files of a request into memory, within limits of size and time.

Starlette's own form parser is not used: it writes files over 1 MB to disk on the event loop
(CVE-2025-54121), and every radiograph is larger.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from cxrserve.api.transfers import Pace, Transfer
from cxrserve.errors import RequestError, RequestTimeout, TooLarge, UnsupportedMediaType
from cxrserve.multipart import FormReader, upload_too_large
from cxrserve.settings import Settings

RAW_TYPES: Final = ("application/dicom", "image/jpeg", "image/png", "application/octet-stream")
FORM_TYPE: Final = "multipart/form-data"
JSON_TYPE: Final = "application/json"
# The default of `curl --data-binary @chest.dcm`; the content decides anyway.
_CURL_DEFAULT_TYPE: Final = "application/x-www-form-urlencoded"
# Most bytes that a form adds to each file: a boundary, headers, and a file name of 10 kB.
_FORM_OVERHEAD_BYTES: Final = 32 * 1024
_MAX_JSON_BYTES: Final = 64 * 1024
_Model = TypeVar("_Model", bound=BaseModel)
_MEDIA_TYPE: Final = re.compile(r"[a-z]{1,20}/[a-z0-9][a-z0-9.+-]{0,60}")


class _Body(Protocol):
    def write(self, chunk: bytes) -> None: ...

    def close(self) -> list[bytearray]: ...


class RawBody:
    """A body that is the bytes of one file."""

    def __init__(self) -> None:
        self._data: Final = bytearray()

    def write(self, chunk: bytes) -> None:
        self._data.extend(chunk)

    def close(self) -> list[bytearray]:
        return [self._data]


async def receive(
    request: Request, settings: Settings, transfer: Transfer, *, max_files: int
) -> list[bytearray]:
    """Receive the files of `request`.

    Args:
        transfer: the place and the memory of this body.
        max_files: if 1, the body may also be the bytes of a file.

    Raises:
        UnsupportedMediaType: the Content-Type or Content-Encoding is not supported.
        TooLarge: by Content-Length before the first byte, else when the stream exceeds the limit.
        RequestTimeout: the body was not complete in time, or came too slowly.
        Overloaded: the memory for uploads is in use.
        RequestError: the form is broken or has no file.
        ClientDisconnect: the client disconnected.
    """
    body, max_bytes = _open_body(request, settings, max_files)
    too_large = upload_too_large(settings.max_upload_bytes)
    await _receive_into(body.write, request, settings, transfer, max_bytes=max_bytes, too_large=too_large)
    return body.close()


async def receive_json(
    request: Request, settings: Settings, transfer: Transfer, model: type[_Model]
) -> _Model:
    """Receive a small JSON body.

    Args:
        transfer: the place and the memory of this body.
        model: what the body must be.

    Raises:
        RequestError: it is none; names the fields at fault, without their values.
        UnsupportedMediaType, TooLarge, RequestTimeout, Overloaded, ClientDisconnect: as `receive`.
    """
    check_encoding(request)
    media_type = _bare(request.headers.get("content-type", ""))
    if media_type != JSON_TYPE:
        raise UnsupportedMediaType(
            f"the Content-Type is {_printable(media_type)}; send {JSON_TYPE}.", headers={"Accept": JSON_TYPE}
        )
    too_large = TooLarge(f"the body has more than {_MAX_JSON_BYTES} bytes. Send less in one request.")
    if _content_length(request) > _MAX_JSON_BYTES:
        raise too_large
    data = bytearray()
    await _receive_into(
        data.extend, request, settings, transfer, max_bytes=_MAX_JSON_BYTES, too_large=too_large
    )
    try:
        return model.model_validate_json(bytes(data))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part)[:40] for part in fault['loc']) or 'body'}: {fault['msg']}"
            for fault in error.errors(include_input=False)[:4]
        )
        raise RequestError(f"{faults}. GET /docs describes the body.") from None


async def _receive_into(
    write: Callable[[bytes], object],
    request: Request,
    settings: Settings,
    transfer: Transfer,
    *,
    max_bytes: int,
    too_large: TooLarge,
) -> None:
    """Pass the body of `request` to `write`, piece by piece, within the limits of size and time.

    Raises:
        TooLarge: `too_large`, when there are more than `max_bytes`.
        RequestTimeout, Overloaded, ClientDisconnect: as `receive`.
    """
    transfer.hold(_content_length(request))
    size = 0
    pace = pace_of(settings)
    try:
        async with asyncio.timeout_at(pace.deadline_s) as timeout, aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise too_large
                transfer.hold_at_least(size)
                write(chunk)
                pace.moved(len(chunk))
                timeout.reschedule(pace.deadline_s)
    except TimeoutError:
        raise RequestTimeout(too_slow(settings)) from None


def pace_of(settings: Settings) -> Pace:
    """The pace that a body must keep, from now on."""
    return Pace(
        asyncio.get_running_loop().time(),
        timeout_s=settings.upload_timeout_s,
        bytes_per_s=settings.min_upload_bytes_per_s,
    )


def too_slow(settings: Settings) -> str:
    """The detail of the problem of a body that came too slowly."""
    return (
        f"the body was not complete after {settings.upload_timeout_s:g} s, or came at less than "
        f"{settings.min_upload_bytes_per_s} bytes/s. Use a faster connection, send fewer files in one "
        "request, or ask the administrator to change CXRSERVE_UPLOAD_TIMEOUT_S or "
        "CXRSERVE_MIN_UPLOAD_BYTES_PER_S."
    )


def _open_body(request: Request, settings: Settings, max_files: int) -> tuple[_Body, int]:
    """The reader for the body, and the most bytes of the body.

    A request that its headers show to be invalid is refused before a byte of the body is read.
    """
    check_encoding(request)
    content_type = request.headers.get("content-type", "")
    is_form = _bare(content_type) == FORM_TYPE
    if not is_form and (max_files > 1 or _bare(content_type) not in ("", *RAW_TYPES, _CURL_DEFAULT_TYPE)):
        raise _unsupported(_bare(content_type), max_files)
    max_bytes = settings.max_upload_bytes + is_form * max_files * _FORM_OVERHEAD_BYTES
    if _content_length(request) > max_bytes:
        raise upload_too_large(settings.max_upload_bytes)
    if not is_form:
        return RawBody(), max_bytes
    return FormReader(content_type, max_files=max_files, max_bytes=settings.max_upload_bytes), max_bytes


def has_body(request: Request) -> bool:
    """True if the headers announce a body."""
    return _content_length(request) > 0 or "transfer-encoding" in request.headers


def _content_length(request: Request) -> int:
    # h11 has checked that this is a number (RFC 9112, 6.3).
    return int(request.headers.get("content-length", "0"))


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def check_encoding(request: Request) -> None:
    """Check that the body is not compressed.

    Raises:
        UnsupportedMediaType: it has a Content-Encoding.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType(
            "the body has a Content-Encoding, which is not supported. Send the file without it: "
            "its pixels are already compressed.",
            headers={"Accept-Encoding": "identity"},  # RFC 9110, 15.5.16
        )


def _unsupported(media_type: str, max_files: int) -> UnsupportedMediaType:
    supported = (FORM_TYPE,) if max_files > 1 else (FORM_TYPE, *RAW_TYPES)
    return UnsupportedMediaType(
        f"the Content-Type is {_printable(media_type)}; supported are: {', '.join(supported)}"
        + ("." if max_files > 1 else ", or no Content-Type. The content decides what the file is."),
        headers={"Accept": ", ".join(supported)},  # RFC 9110, 15.5.16
    )


def _printable(content_type: str) -> str:
    """The media type, if it is a valid one (RFC 6838, 4.2) and short."""
    return content_type if _MEDIA_TYPE.fullmatch(content_type) else "not supported"
