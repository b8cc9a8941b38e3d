"""Damaged wrappings of whole pictures: offset tables, delimiters, end markers, trailers, a false deflate."""

from __future__ import annotations

import io
import struct
from typing import Any, Final

import numpy as np
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxrserve.errors import UnreadableImage, UnsupportedImage
from cxrserve.imaging.dicom.read import read_dicom
from cxrserve.imaging.jpeg import read_jpeg
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.radiograph import Radiograph
from tests.imaging import makers

FILM: Final = makers.radiograph()
GREY: Final = makers.radiograph(bits=8)
LOSSLESS: Final = (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)
DELIMITER: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"


def read(data: bytes) -> Radiograph:
    return read_dicom(data, Limits())


def wrapped(fragments: list[bytes], syntax: UID, table: list[int], **elements: Any) -> bytes:
    """A file whose offset table has the entries `table`."""
    data = makers.encapsulated(FILM, fragments, syntax=syntax, **elements)
    empty = b"\xfe\xff\x00\xe0\0\0\0\0"
    at = data.rindex(b"\xe0\x7f\x10\x00")
    at = data.index(empty, at)
    entries = struct.pack(f"<{len(table)}I", *table)
    return data[: at + 4] + struct.pack("<I", len(entries)) + entries + data[at + 8 :]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("table", [[0], [0, 0], [0, 10**6], [0, 0, 0, 4]])
def test_entries_of_the_offset_table_that_point_at_nothing_are_no_frames(
    syntax: UID, table: list[int]
) -> None:
    stream = makers.compress(FILM, syntax, 12)
    assert np.array_equal(read(wrapped([stream], syntax, table)).pixels_HW, FILM)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_an_offset_table_beside_two_frames_is_refused_for_its_frames(syntax: UID) -> None:
    stream = makers.compress(FILM, syntax, 12)
    stream += b"\0" * (len(stream) % 2)
    with pytest.raises(UnsupportedImage, match="2 frames"):
        read(wrapped([stream, stream], syntax, [0, len(stream) + 8]))


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("instead", [b"", b"\0" * 8, b"\0" * 300, DELIMITER[:4]])
def test_a_missing_sequence_delimiter(syntax: UID, instead: bytes) -> None:
    data = makers.dicom(FILM, syntax=syntax)
    assert data.endswith(DELIMITER)
    found = read(data[:-8] + instead)
    assert np.array_equal(found.pixels_HW, FILM)
    assert [warning.code for warning in found.warnings] == ([] if instead == DELIMITER[:4] else ["repaired"])


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_cut_inside_a_fragment_is_refused_as_that(syntax: UID) -> None:
    data = makers.dicom(FILM, syntax=syntax)
    with pytest.raises(UnreadableImage, match="inside a fragment"):
        read(data[: len(data) * 3 // 4])


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("trailer", [b"\0" * 8, b"junk behind the end", b"\xff\xd8\xff\xe0 another picture"])
def test_bytes_after_the_end_marker_are_ignored(syntax: UID, trailer: bytes) -> None:
    stream = makers.compress(FILM, syntax, 12).rstrip(b"\0") + trailer
    assert np.array_equal(read(makers.encapsulated(FILM, [stream], syntax=syntax)).pixels_HW, FILM)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_a_missing_end_marker_is_refused_as_that(syntax: UID) -> None:
    stream = makers.compress(FILM, syntax, 12).rstrip(b"\0")[:-2]
    with pytest.raises(UnreadableImage, match="no end marker"):
        read(makers.encapsulated(FILM, [stream], syntax=syntax))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_trailer_behind_a_jpeg_is_ignored(progressive: bool) -> None:
    """Motion photos append a film, whose bytes look like thousands of scans."""
    picture = makers.jpeg(GREY, quality=95, progressive=progressive)
    film = b"\xff\xda\x00\x02ftypmp42" * 3000
    whole, trailed = read_jpeg(picture, Limits()), read_jpeg(picture + film, Limits())
    assert np.array_equal(trailed.pixels_HW, whole.pixels_HW)
    stream = picture + film
    found = read(makers.encapsulated(GREY, [stream], syntax=JPEGBaseline8Bit, bits=8))
    assert np.array_equal(found.pixels_HW, whole.pixels_HW)


def test_a_false_deflate() -> None:
    plain = makers.dicom(FILM, syntax=ExplicitVRLittleEndian)
    false = plain.replace(ExplicitVRLittleEndian.encode() + b"\0", b"", 1)
    assert false != plain
    group = makers.dicom(FILM, syntax=DeflatedExplicitVRLittleEndian)
    start = plain.index(b"\x08\x00\x16\x00UI")
    deflated_start = _meta_end(group)
    found = read(group[:deflated_start] + plain[start:])
    assert np.array_equal(found.pixels_HW, FILM)
    assert [warning.code for warning in found.warnings] == ["transfer-syntax"]
    with pytest.raises(UnreadableImage, match="cannot be inflated"):
        read(group[:deflated_start] + b"\xff" * 3000)


def _meta_end(data: bytes) -> int:
    """The start of the data set: after the group length of the meta information."""
    stream = io.BytesIO(data)
    stream.seek(132 + 8)
    (length,) = struct.unpack("<I", stream.read(4))
    return 132 + 12 + int(length)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.113619.5.2", "GE private"),
    ],
)
def test_a_syntax_without_a_decoder_is_named(syntax: str, name: str) -> None:
    data = makers.dicom(FILM, syntax=JPEG2000Lossless)
    true = JPEG2000Lossless.encode()
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(true)) + true
    other = syntax.encode() + b"\0" * (len(syntax) % 2)
    assert element in data
    false = data.replace(element, element[:6] + struct.pack("<H", len(other)) + other, 1)
    with pytest.raises(UnsupportedImage, match=name):
        read(false)
