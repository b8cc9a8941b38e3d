"""Size and precision of a compressed stream, read without decoding.

JPEG and JPEG-LS: ITU-T T.81 Annex B, T.87 Annex C. JPEG 2000 and HTJ2K: ITU-T T.800 Annex A.5.1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from cxrserve.errors import UnreadableImage

Process = Literal["baseline", "extended", "progressive", "lossless", "arithmetic", "jpeg-ls", "jpeg-2000"]

_START_OF_IMAGE: Final = b"\xff\xd8"
_START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_END: Final = b"\xff\xd9"  # EOI of JPEG and EOC of JPEG 2000 alike
_PROCESSES: Final[dict[int, Process]] = {
    0xC0: "baseline",
    0xC1: "extended",
    0xC2: "progressive",
    0xC3: "lossless",
    0xF7: "jpeg-ls",
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), "arithmetic"),
}
_HIERARCHICAL: Final = frozenset((0xC5, 0xC6, 0xC7))
_STANDALONE: Final = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_START_OF_DATA: Final = b"\xff\x93"
_MARKER_IN_SCAN: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # others are data or restart markers
_JFIF: Final = 0xE0
_ADOBE: Final = 0xEE


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamHeader:
    """The frame header of a compressed stream. `signed` is None where the format does not say.

    `adobe` and `jfif`: markers that say how the components of a JPEG make a colour.
    """

    process: Process
    rows: int
    columns: int
    components: int
    precision: int
    signed: bool | None = None
    adobe: bool = False
    jfif: bool = False


def read_stream_header(stream: bytes) -> StreamHeader:
    """The frame header of a JPEG, JPEG-LS or JPEG 2000 stream.

    Raises:
        UnreadableImage: no such header where one must be.
    """
    if stream.startswith(_START_OF_CODESTREAM):
        return _read_siz(stream)
    if stream.startswith(_START_OF_IMAGE):
        return _read_start_of_frame(stream)
    raise UnreadableImage(
        "the pixel data begin with no JPEG, JPEG-LS or JPEG 2000 start marker: they are damaged. Send the "
        "image again from its source."
    )


def stream_end(stream: bytes) -> int | None:
    """Length of the stream with its end marker, None where it has none. Whatever follows is not part of it.

    PS3.5 A.4 pads with zeros; cameras append films, other pictures and notes.
    """
    if stream.startswith(_START_OF_IMAGE):
        return jpeg_end(stream)[0]
    data = stream.find(_START_OF_DATA)  # no marker after it has the bytes of another one: T.800 B.10.1
    end = stream.find(_END, max(data, 0))
    return end + len(_END) if end >= 0 else None


def jpeg_end(stream: bytes, *, max_scans: int | None = None) -> tuple[int | None, int]:
    """The end of a JPEG or JPEG-LS stream, None where it has no end marker; and the number of its scans.

    The walk stops after `max_scans`. Markers within entropy-coded data: T.81 B.1.1.2, T.87 A.1.
    """
    position, scans = 2, 0
    while (marker_at := stream.find(b"\xff", position)) >= 0 and marker_at + 1 < len(stream):
        marker = stream[marker_at + 1]
        if marker == _END_OF_IMAGE:
            return marker_at + 2, scans
        if marker in (0x00, 0xFF) or marker in _STANDALONE:  # stuffing, fill bytes
            position = marker_at + (1 if marker == 0xFF else 2)
            continue
        position = marker_at + 2 + int.from_bytes(stream[marker_at + 2 : marker_at + 4], "big")
        if marker == _START_OF_SCAN:
            scans += 1
            following = _MARKER_IN_SCAN.search(stream, position)
            if following is None or scans == max_scans:
                return None, scans
            position = following.start()
    return None, scans


def starts_stream(data: bytes) -> bool:
    """True if `data` begins a JPEG, JPEG-LS or JPEG 2000 stream."""
    return data.startswith((_START_OF_CODESTREAM, _START_OF_IMAGE + b"\xff", _JP2_SIGNATURE))


def without_jp2(stream: bytes) -> bytes:
    """The codestream of a JP2 file, which DICOM does not allow and some write; any other stream as it is.

    T.800 Annex I.4, I.5.4: boxes of a length, a type and their contents; the codestream's type is jp2c.
    """
    if not stream.startswith(_JP2_SIGNATURE):
        return stream
    position = 0
    while position + 16 <= len(stream):
        length, kind = struct.unpack_from(">I4s", stream, position)
        contents = position + 8
        if length == 1:  # a longer length follows
            (length,) = struct.unpack_from(">Q", stream, contents)
            contents += 8
        end = position + length if length else len(stream)
        if kind == b"jp2c":
            return stream[contents:end]
        position = max(end, contents)
    raise UnreadableImage("the JP2 file in the pixel data holds no codestream: it is damaged or truncated.")


def _read_siz(stream: bytes) -> StreamHeader:
    # T.800 A.5.1: Rsiz, Xsiz, Ysiz, XOsiz, YOsiz, tile sizes and offsets, Csiz, then Ssiz of each component.
    try:
        x_end, y_end, x_start, y_start = struct.unpack_from(">4I", stream, 8)
        components, depth = struct.unpack_from(">HB", stream, 40)
    except struct.error as exc:
        raise UnreadableImage("the JPEG 2000 stream ends inside its header: it is truncated.") from exc
    return StreamHeader(
        process="jpeg-2000",
        rows=y_end - y_start,
        columns=x_end - x_start,
        components=components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
    )


def jpeg_segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, what follows its length) of each segment before the first scan. T.81 B.1.1.4."""
    position = 2
    while (marker_at := stream.find(b"\xff", position)) >= 0 and marker_at + 4 <= len(stream):
        marker = stream[marker_at + 1]
        if marker in (0x00, 0xFF) or marker in _STANDALONE:  # stuffing, fill bytes
            position = marker_at + (1 if marker == 0xFF else 2)
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        position = marker_at + 2 + int.from_bytes(stream[marker_at + 2 : marker_at + 4], "big")
        yield marker, stream[marker_at + 4 : position]


def _read_start_of_frame(stream: bytes) -> StreamHeader:
    adobe = jfif = False
    for marker, body in jpeg_segments(stream):
        if marker in _HIERARCHICAL:
            break
        if marker in _PROCESSES:
            return _frame(marker, body, adobe=adobe, jfif=jfif)
        adobe = adobe or (marker == _ADOBE and body.startswith(b"Adobe"))
        jfif = jfif or (marker == _JFIF and body.startswith(b"JFIF\0"))
    raise UnreadableImage(
        "the JPEG stream holds no frame header that can be read: it is damaged or truncated."
    )


def _frame(marker: int, body: bytes, *, adobe: bool, jfif: bool) -> StreamHeader:
    try:
        precision, rows, columns, components = struct.unpack_from(">BHHB", body)
    except struct.error as exc:
        raise UnreadableImage("the JPEG stream ends inside its frame header: it is truncated.") from exc
    return StreamHeader(
        process=_PROCESSES[marker],
        rows=rows,
        columns=columns,
        components=components,
        precision=precision,
        adobe=adobe,
        jfif=jfif,
    )
