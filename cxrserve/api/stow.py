"""The bodies of STOW-RS: multipart/related in (RFC 2387), and the Store Instances Response out.

Parts are handed over one by one as they are complete, so that memory holds one object and not a study.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cxrserve.errors import RequestError, TooLarge, UnsupportedMediaType
from cxrserve.imaging.dicom.identity import Identity

DICOM: Final = "application/dicom"
MEDIA_TYPE: Final = "application/dicom+json"
_RELATED: Final = "multipart/related"
_TAKEN: Final = f'{_RELATED}; type="{DICOM}"; boundary=...'
_MOST_HEADERS: Final = 8
_MOST_HEADER_BYTES: Final = 4096


@dataclass(kw_only=True, slots=True)
class Part:
    """One part of the body; `content_type` without its parameters."""

    content_type: str = ""
    data: bytearray = field(default_factory=bytearray)


class Related:
    """A multipart/related body, as it streams in.

    Args:
        content_type: the request's Content-Type, with the boundary.
        most_parts: more are refused.
        most_bytes: of one part.

    Attributes:
        complete: parts that are whole and wait to be taken.

    Raises:
        UnsupportedMediaType: the Content-Type is another one.
        RequestError: no boundary, or the body is broken.
        TooLarge: too many parts, or too large a part; as soon as that is known.
    """

    def __init__(self, content_type: str, *, most_parts: int, most_bytes: int) -> None:
        kind, options = parse_options_header(content_type)
        if (
            kind.lower() != _RELATED.encode()
            or options.get(b"type", DICOM.encode()).lower() != DICOM.encode()
        ):
            raise UnsupportedMediaType(
                f"the Content-Type is not the one taken here: {_TAKEN}.", headers={"Accept": _RELATED}
            )
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise RequestError(f"the Content-Type has no boundary (RFC 2046, 5.1.1): {_TAKEN}.")
        self.complete: Final[deque[Part]] = deque()
        self._most_parts: Final = most_parts
        self._most_bytes: Final = most_bytes
        self._parts = 0
        self._ended = False
        self._part = Part()
        self._name = bytearray()
        self._value = bytearray()
        with _translated():
            self._parser: Final = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
                max_header_count=_MOST_HEADERS,
                max_header_size=_MOST_HEADER_BYTES,
            )

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        if not self._ended:  # RFC 2046, 5.1.1: what follows the last boundary is to be ignored
            with _translated():
                self._parser.write(chunk)

    def close(self) -> None:
        """Say that nothing more comes."""
        if not self._ended or not self._parts:
            raise RequestError(
                "the body has no part, or stops before its closing boundary: the boundary in Content-Type is "
                "another one, or the upload is not whole. Send it again."
            )

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._most_parts:
            raise TooLarge(f"the body has more than {self._most_parts} parts. Send fewer in one request.")
        self._part = Part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-type":
            kind, _ = parse_options_header(self._value.decode("latin-1"))
            self._part.content_type = kind.decode("latin-1").lower()
        self._name.clear()
        self._value.clear()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if len(self._part.data) + end - start > self._most_bytes:
            raise TooLarge(
                f"a part has more than {self._most_bytes} bytes, the most this service takes in one object. "
                "Have max_upload_bytes raised."
            )
        self._part.data += memoryview(data)[start:end]

    def _on_part_end(self) -> None:
        self.complete.append(self._part)

    def _on_end(self) -> None:
        self._ended = True


@contextmanager
def _translated() -> Iterator[None]:
    """The parser's errors as ours; its words quote bytes of the body, so they stay inside."""
    try:
        yield
    except FormParserError:
        raise RequestError(
            "the body is not the multipart/related its Content-Type announces: another boundary, or damaged. "
            "Let the DICOMweb library build it."
        ) from None


class Answer:
    """The Store Instances Response Module: PS3.18 10.5.3, PS3.3 Annex I.2."""

    def __init__(self) -> None:
        self._kept: Final[list[dict[str, Any]]] = []
        self._failed: Final[list[dict[str, Any]]] = []

    def keep(self, found: Identity) -> None:
        """Note an object that is kept."""
        # No Retrieve URL (0008,1190): it is where WADO-RS gives the object, and there is no WADO-RS here.
        self._kept.append(_reference(found))

    def fail(self, found: Identity | None, reason: int) -> None:
        """Note an object that is not; `reason` is a C-STORE status (PS3.18 Table 10.5.3-1)."""
        reference = {} if found is None else _reference(found)
        self._failed.append({**reference, "00081197": {"vr": "US", "Value": [reason]}})

    @property
    def status(self) -> int:
        """200 where all are kept, 202 where some are, 409 where none is."""
        if not self._failed:
            return 200
        return 202 if self._kept else 409

    def json(self) -> str:
        """The data set in the DICOM JSON model (PS3.18 Annex F)."""
        dataset: dict[str, Any] = {}
        if self._failed:
            dataset["00081198"] = {"vr": "SQ", "Value": self._failed}
        if self._kept:
            dataset["00081199"] = {"vr": "SQ", "Value": self._kept}
        return json.dumps(dataset)


def _reference(found: Identity) -> dict[str, Any]:
    uids = {"00081150": found.sop_class_uid, "00081155": found.sop_instance_uid}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items() if uid}
