"""Frame headers are read without decoding."""

from __future__ import annotations

import pytest
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.codestream import StreamHeader, read_stream_header, stream_end
from tests.imaging import makers


@pytest.mark.parametrize(
    ("syntax", "process", "bits", "signed"),
    [
        (JPEGBaseline8Bit, "baseline", 8, None),
        (JPEGLosslessSV1, "lossless", 16, None),
        (JPEGLSLossless, "jpeg-ls", 12, None),
        (JPEG2000Lossless, "jpeg-2000", 12, False),
    ],
)
def test_frame_headers(syntax: str, process: str, bits: int, signed: bool | None) -> None:
    stream = makers.compress(makers.radiograph(bits=bits), UID(syntax), bits)
    found = read_stream_header(stream)
    assert (found.process, found.rows, found.columns, found.components) == (process, 120, 100, 1)
    assert (found.precision, found.signed) == (bits, signed)
    assert stream_end(stream + b"\0 and whatever follows") == len(stream.rstrip(b"\0"))
    assert stream_end(stream.rstrip(b"\0")[:-2]) is None


def test_segments_before_the_frame_are_passed_over() -> None:
    stream = makers.jpeg(makers.radiograph(bits=8))
    app = b"\xff\xe5\xff\xff" + b"\xff\xc0" * 32766 + b"\0"  # a thumbnail full of frame headers
    found = read_stream_header(stream[:2] + b"\xff\xff" + app + stream[2:])
    assert found == read_stream_header(stream)
    assert isinstance(found, StreamHeader)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xc0\0\x0b\x08",
        b"\xff\xd8\xff\xda\0\x02",
        b"\xff\xd8" + b"\xff\xe0\0\0" * 1000,
        b"\xff\xd8" + b"\xff" * 100_000,
        b"\xff\x4f\xff\x51\0\x29",
        b"\xff\xd8\xff\xc5\0\x0b\x08\0\x40\0\x40\x01",
        b"PNG",
    ],
)
def test_no_frame_header(stream: bytes) -> None:
    with pytest.raises(UnreadableImage):
        read_stream_header(stream)
