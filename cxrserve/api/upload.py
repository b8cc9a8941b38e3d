"""The upload: the files of a request, in memory, within limits of size and time.

Starlette's own form parser is not used: it rolls files over 1 MB to disk on the event loop
(CVE-2025-54121), and every radiograph is larger.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import Final, Protocol

from starlette.requests import Request

from cxrserve.api.multipart import Form, too_large
from cxrserve.errors import RequestTimeout, UnsupportedMediaType
from cxrserve.settings import Settings

RAW_TYPES: Final = ("application/dicom", "image/jpeg", "image/png", "application/octet-stream")
FORM_TYPE: Final = "multipart/form-data"
# What `curl --data-binary @chest.dcm` says of a body unless told otherwise; the content decides anyway.
_SAID_BY_CURL: Final = "application/x-www-form-urlencoded"
# What a form may add to each file: a boundary, headers, and a file name of 10 kB.
_FORM_OVERHEAD_BYTES: Final = 32 * 1024
_MEDIA_TYPE: Final = re.compile(r"[a-z]{1,20}/[a-z0-9][a-z0-9.+-]{0,60}")


class _Body(Protocol):
    def write(self, chunk: bytes) -> None: ...

    def close(self) -> list[bytearray]: ...


class _Raw:
    """A body that is one file."""

    def __init__(self) -> None:
        self._data: Final = bytearray()

    def write(self, chunk: bytes) -> None:
        self._data.extend(chunk)

    def close(self) -> list[bytearray]:
        return [self._data]


async def receive(request: Request, settings: Settings, *, most_files: int) -> list[bytearray]:
    """The files that `request` carries.

    Args:
        most_files: 1 also takes the bare bytes of a file as the body.

    Raises:
        UnsupportedMediaType: a Content-Type or Content-Encoding that is not taken.
        TooLarge: from Content-Length before the first byte, else as soon as the stream passes the limit.
        RequestTimeout: the body was not there in time, however steadily it trickles.
        RequestError: a broken form, or one without a file.
        ClientDisconnect: nobody is there any more.
    """
    body, most_bytes = _opened(request, settings, most_files)
    taken = 0
    try:
        async with asyncio.timeout(settings.upload_timeout_s), aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                taken += len(chunk)
                if taken > most_bytes:
                    raise too_large(settings.max_upload_bytes)
                body.write(chunk)
    except TimeoutError:
        raise RequestTimeout(
            f"the body was not complete after {settings.upload_timeout_s:g} s. "
            "Send it over a faster line, or have upload_timeout_s raised."
        ) from None
    return body.close()


def _opened(request: Request, settings: Settings, most_files: int) -> tuple[_Body, int]:
    """Where the body goes, and how long it may be.

    What is known from the headers alone is refused before a byte of the body is read.
    """
    check_encoding(request)
    content_type = request.headers.get("content-type", "")
    is_form = _bare(content_type) == FORM_TYPE
    if not is_form and (most_files > 1 or _bare(content_type) not in ("", *RAW_TYPES, _SAID_BY_CURL)):
        raise _unsupported(_bare(content_type), most_files)
    most_bytes = settings.max_upload_bytes + is_form * most_files * _FORM_OVERHEAD_BYTES
    # h11 has checked that this is a number (RFC 9112, 6.3).
    if int(request.headers.get("content-length", "0")) > most_bytes:
        raise too_large(settings.max_upload_bytes)
    if not is_form:
        return _Raw(), most_bytes
    return Form(content_type, most_files=most_files, most_bytes=settings.max_upload_bytes), most_bytes


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def check_encoding(request: Request) -> None:
    """Refuse a body that is compressed as a whole."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType(
            "the body has a Content-Encoding; only identity is taken. Send the file uncompressed: "
            "its pixels are compressed already.",
            headers={"Accept-Encoding": "identity"},  # RFC 9110, 15.5.16
        )


def _unsupported(found: str, most_files: int) -> UnsupportedMediaType:
    taken = (FORM_TYPE,) if most_files > 1 else (FORM_TYPE, *RAW_TYPES)
    return UnsupportedMediaType(
        f"the Content-Type is {_shown(found)}; taken are: {', '.join(taken)}"
        + ("." if most_files > 1 else ", or none. The content then decides what the file is."),
        headers={"Accept": ", ".join(taken)},  # RFC 9110, 15.5.16
    )


def _shown(content_type: str) -> str:
    """A media type is repeated only where it is one (RFC 6838, 4.2), and short."""
    return content_type if _MEDIA_TYPE.fullmatch(content_type) else "not one of those taken"
