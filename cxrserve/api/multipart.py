"""multipart/form-data (RFC 7578), parsed as it streams in, straight into memory and within limits.

Only the field's name is looked at. A file's name is never used, logged or echoed, and neither are the
parts' other headers: the content decides what a file is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cxrserve.errors import RequestError, TooLarge

FIELD: Final = "file"
_MAX_HEADERS: Final = 8
_MAX_HEADER_BYTES: Final = 16 * 1024  # a file name of 10 kB is odd, and harmless


class Form:
    """The files of one form, complete once `close` has returned them.

    Args:
        content_type: the request's Content-Type, with the boundary.
        most_files: more parts are refused.
        most_bytes: all files together may have this many bytes.

    Raises:
        RequestError: the form is broken, or is not made of parts named `file`.
        TooLarge: more parts or bytes than allowed; as soon as that is known.
    """

    def __init__(self, content_type: str, *, most_files: int, most_bytes: int) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise RequestError(
                "the Content-Type multipart/form-data has no boundary parameter (RFC 2046, 5.1.1). "
                "Let the HTTP library set this header."
            )
        self._most_files: Final = most_files
        self._most_bytes: Final = most_bytes
        self._files: Final[list[bytearray]] = []
        self._bytes = 0
        self._ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        with _translated():
            self._parser: Final = self._build(boundary)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        if not self._ended:  # RFC 2046, 5.1.1: what follows the last boundary is to be ignored
            with _translated():
                self._parser.write(chunk)

    def close(self) -> list[bytearray]:
        """The files, in the order of their parts."""
        if not self._ended:
            raise RequestError(
                "the form stops before its closing boundary: the upload is not whole. Send it again."
            )
        if not self._files:
            raise RequestError(
                f"the form has no part; it needs one named `{FIELD}`: curl -F {FIELD}=@chest.jpg"
            )
        return self._files

    def _build(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_begin": self._on_header_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )

    def _on_part_begin(self) -> None:
        if len(self._files) >= self._most_files:
            raise self._too_many()
        self._disposition = b""

    def _too_many(self) -> RequestError:
        if self._most_files == 1:
            return RequestError(
                f"the form has several parts; exactly one, named `{FIELD}`, is taken here. "
                "Several images of one study go to /predict/study."
            )
        return TooLarge(
            f"the form has more than {self._most_files} files, the most this service takes in one study. "
            "Send fewer, or have max_study_files raised."
        )

    def _on_header_begin(self) -> None:
        self._header_name.clear()
        self._header_value.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        if options.get(b"name") != FIELD.encode():
            raise RequestError(
                f"the form has a part that is not named `{FIELD}`; every part must be: -F {FIELD}=@chest.jpg"
            )
        self._files.append(bytearray())

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._bytes += end - start
        if self._bytes > self._most_bytes:
            raise too_large(self._most_bytes)
        self._files[-1] += memoryview(data)[start:end]

    def _on_end(self) -> None:
        self._ended = True


@contextmanager
def _translated() -> Iterator[None]:
    """The parser's errors as ours; its words quote bytes of the body, so they stay inside."""
    try:
        yield
    except FormParserError:
        raise RequestError(
            "the body is not the multipart/form-data its Content-Type announces (RFC 7578). "
            "Let the HTTP library build it, or send the file's bytes as the body."
        ) from None


def too_large(most_bytes: int) -> TooLarge:
    """The refusal of a body above the limit; its true size is not known, as reading stops there."""
    return TooLarge(
        f"the upload has more than {most_bytes} bytes, the most this service takes in one request. "
        "Send the image alone, or have max_upload_bytes raised."
    )
