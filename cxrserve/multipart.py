"""Multipart bodies: read form uploads and DICOM objects as they stream in, write DICOM objects.

multipart/form-data is RFC 7578, multipart/related RFC 2387 and, with DICOM objects, PS3.18 8.6.1.2.
Everything is parsed into memory and within limits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cxrserve.errors import RequestError, TooLarge, UnsupportedMediaType

FIELD: Final = "file"
DICOM_TYPE: Final = "application/dicom"
RELATED_TYPE: Final = "multipart/related"
_SUPPORTED: Final = f'{RELATED_TYPE}; type="{DICOM_TYPE}"; boundary=...'
_MAX_HEADERS: Final = 8
_MAX_HEADER_BYTES: Final = 16 * 1024  # a file name of 10 kB is odd, and harmless


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A response body and its Content-Type."""

    content: bytes
    media_type: str


class MultipartReader(ABC):
    """Base of the readers: connects the parser's callbacks and translates its errors.

    Attributes:
        ended: True after the closing boundary.
    """

    _broken: str  # the message for a body that cannot be parsed

    def __init__(self, boundary: bytes) -> None:
        self.ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        callbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        with self._translated():
            self._parser: Final = MultipartParser(
                boundary,
                callbacks,  # type: ignore[arg-type]
                max_header_count=_MAX_HEADERS,
                max_header_size=_MAX_HEADER_BYTES,
            )

    def write(self, chunk: bytes) -> None:
        """Parse the next bytes of the body.

        Raises:
            RequestError: the body is broken.
            TooLarge: it has more parts or bytes than allowed.
        """
        if not self.ended:  # RFC 2046, 5.1.1: ignore everything after the closing boundary
            with self._translated():
                self._parser.write(chunk)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Replace the parser's errors: their messages quote bytes of the body, which may be patient data."""
        try:
            yield
        except FormParserError:
            raise RequestError(self._broken) from None

    @abstractmethod
    def _on_part_begin(self) -> None: ...

    @abstractmethod
    def _on_header(self, name: bytes, value: bytes) -> None: ...

    @abstractmethod
    def _on_content(self, content: memoryview) -> None: ...

    def _on_headers_finished(self) -> None:  # noqa: B027 - readers may leave it as it is
        """Called between the headers and the content of a part."""

    def _on_part_end(self) -> None:  # noqa: B027
        """Called after the content of a part."""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._on_header(bytes(self._header_name).lower(), bytes(self._header_value))
        self._header_name.clear()
        self._header_value.clear()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._on_content(memoryview(data)[start:end])

    def _on_end(self) -> None:
        self.ended = True


class FormReader(MultipartReader):
    """Reads the files of one form; every part must be named `file`.

    Only the field's name is used. A file's name and a part's other headers are never used, logged or
    repeated: the content decides what a file is.

    Args:
        content_type: the request's Content-Type, with the boundary.
        max_files: most parts.
        max_bytes: most bytes of all files together.

    Raises:
        RequestError: the form is broken, or has a part with another name.
        TooLarge: more parts or bytes than allowed; as soon as that is known.
    """

    _broken = (
        "the body is not the multipart/form-data that its Content-Type announces (RFC 7578). "
        "Let the HTTP library build it, or send the file's bytes as the body."
    )

    def __init__(self, content_type: str, *, max_files: int, max_bytes: int) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise RequestError(
                "the Content-Type multipart/form-data has no boundary parameter (RFC 2046, 5.1.1). "
                "Let the HTTP library set this header."
            )
        self._max_files: Final = max_files
        self._max_bytes: Final = max_bytes
        self._files: Final[list[bytearray]] = []
        self._size = 0
        self._disposition = b""
        super().__init__(boundary)

    def close(self) -> list[bytearray]:
        """Return the files, in the order of their parts.

        Raises:
            RequestError: the form has no part, or no closing boundary.
        """
        if not self.ended:
            raise RequestError(
                "the form stops before its closing boundary: the upload is not complete. Send it again."
            )
        if not self._files:
            raise RequestError(
                f"the form has no part; it needs one named `{FIELD}`: curl -F {FIELD}=@chest.jpg"
            )
        return self._files

    def _on_part_begin(self) -> None:
        if len(self._files) >= self._max_files:
            raise self._too_many()
        self._disposition = b""

    def _too_many(self) -> RequestError:
        if self._max_files == 1:
            return RequestError(
                f"the form has several parts; this path takes exactly one, named `{FIELD}`. "
                "Send several images of one study to /predict/study."
            )
        return TooLarge(
            f"the form has more than {self._max_files} files, the most that this service takes in one study. "
            "Send fewer, or ask the administrator to raise max_study_files."
        )

    def _on_header(self, name: bytes, value: bytes) -> None:
        if name == b"content-disposition":
            self._disposition = value

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        if options.get(b"name") != FIELD.encode():
            raise RequestError(
                f"the form has a part that is not named `{FIELD}`; every part must be: -F {FIELD}=@chest.jpg"
            )
        self._files.append(bytearray())

    def _on_content(self, content: memoryview) -> None:
        self._size += len(content)
        if self._size > self._max_bytes:
            raise upload_too_large(self._max_bytes)
        self._files[-1] += content


@dataclass(kw_only=True, slots=True)
class Part:
    """One part of a multipart/related body; `content_type` without its parameters."""

    content_type: str = ""
    content: bytearray = field(default_factory=bytearray)


class RelatedReader(MultipartReader):
    """Reads a multipart/related body of DICOM objects, part by part.

    A part is available in `complete` as soon as it ends, so that memory holds one object, not a study.

    Args:
        content_type: the body's Content-Type, with the boundary.
        max_parts: most parts.
        max_bytes: most bytes of one part.

    Attributes:
        complete: finished parts; the caller removes them.

    Raises:
        UnsupportedMediaType: the Content-Type is another one.
        RequestError: the boundary is missing, or the body is broken.
        TooLarge: too many parts, or a part is too large; as soon as that is known.
    """

    _broken = (
        "the body is not the multipart/related that its Content-Type announces: it has another boundary, or "
        "is damaged. Let the DICOMweb library build it."
    )

    def __init__(self, content_type: str, *, max_parts: int, max_bytes: int) -> None:
        media_type, options = parse_options_header(content_type)
        part_type = options.get(b"type", DICOM_TYPE.encode())
        if media_type.lower() != RELATED_TYPE.encode() or part_type.lower() != DICOM_TYPE.encode():
            raise UnsupportedMediaType(
                f"the Content-Type must be {_SUPPORTED}.", headers={"Accept": RELATED_TYPE}
            )
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise RequestError(f"the Content-Type has no boundary (RFC 2046, 5.1.1): {_SUPPORTED}.")
        self.complete: Final[deque[Part]] = deque()
        self._max_parts: Final = max_parts
        self._max_bytes: Final = max_bytes
        self._parts = 0
        self._part = Part()
        super().__init__(boundary)

    def close(self) -> None:
        """Check that the body is complete.

        Raises:
            RequestError: it has no part, or no closing boundary.
        """
        if not self.ended or not self._parts:
            raise RequestError(
                "the body has no part, or stops before its closing boundary: the Content-Type names another "
                "boundary, or the upload is not complete. Send it again."
            )

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise TooLarge(f"the body has more than {self._max_parts} parts. Send fewer in one request.")
        self._part = Part()

    def _on_header(self, name: bytes, value: bytes) -> None:
        if name == b"content-type":
            media_type, _ = parse_options_header(value.decode("latin-1"))
            self._part.content_type = media_type.decode("latin-1").lower()

    def _on_content(self, content: memoryview) -> None:
        if len(self._part.content) + len(content) > self._max_bytes:
            raise TooLarge(
                f"a part has more than {self._max_bytes} bytes, the most that this service takes in one "
                "object. Ask the administrator to raise max_upload_bytes."
            )
        self._part.content += content

    def _on_part_end(self) -> None:
        self.complete.append(self._part)


def upload_too_large(max_bytes: int) -> TooLarge:
    """The error for a body above the limit; its full size is unknown, because reading stops at the limit."""
    return TooLarge(
        f"the upload has more than {max_bytes} bytes, the most that this service takes in one request. "
        "Send the image alone, or ask the administrator to raise max_upload_bytes."
    )


def related_body(objects: Sequence[bytes]) -> Body:
    """DICOM files as one multipart/related body. The boundary is a hash of them, so that none contains it."""
    digest = sha256()
    for content in objects:
        digest.update(content)
    boundary = f"cxrserve-{digest.hexdigest()[:40]}"
    pieces: list[bytes] = []
    for content in objects:
        headers = f"Content-Type: {DICOM_TYPE}\r\nContent-Length: {len(content)}"
        pieces += (f"--{boundary}\r\n{headers}\r\n\r\n".encode(), content, b"\r\n")
    return Body(
        content=b"".join((*pieces, f"--{boundary}--\r\n".encode())),
        media_type=f'{RELATED_TYPE}; type="{DICOM_TYPE}"; boundary={boundary}',
    )


def single_part(body: bytes, content_type: str) -> bytes:
    """The first part of a multipart/related body, or the body itself where it is a single object.

    Some PACS label the parts with another type, or send the bare object; so the type is not checked.

    Returns:
        b"" where the body is broken or has no part.
    """
    media_type, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if media_type.lower() != RELATED_TYPE.encode() or not boundary:
        return body
    reader = RelatedReader(
        f'{RELATED_TYPE}; boundary="{boundary.decode("latin-1")}"', max_parts=1, max_bytes=len(body)
    )
    start = max(0, body.find(b"--" + boundary))  # RFC 2046, 5.1.1: a preamble may come first
    try:
        reader.write(body[start:])
        reader.close()
    except RequestError:
        return b""
    return bytes(reader.complete[0].content)
