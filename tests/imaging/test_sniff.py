"""Content decides what a file is."""

from __future__ import annotations

import pytest

from cxrserve.errors import RequestError, UnsupportedFormat
from cxrserve.imaging.sniff import sniff
from tests.imaging import makers


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"II*\0" + bytes(100), "TIFF"),
        (b"MM\0*" + bytes(100), "TIFF"),
        (b"GIF89a" + bytes(100), "GIF"),
        (b"BM" + bytes(100), "BMP"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"PK\x03\x04" + bytes(30), "ZIP"),
        (b"\x1f\x8b\x08" + bytes(30), "gzip"),
        (b"\x7fELF" + bytes(30), "ELF"),
        (b"MZ\x90\0" + bytes(30), "Windows"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"\n <!DOCTYPE html><html>", "HTML"),
        (b"<?xml version='1.0'?><a/>", "XML"),
        (b'{"a": 1}', "JSON"),
        (b"\xff\x4f\xff\x51" + bytes(30), "JPEG 2000"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"hello", "unknown"),
        (b"\0", "unknown"),
        (bytes(132), "unknown"),
        (bytes(127) + b"DICM" + bytes(100), "unknown"),
        (b"\x08\0\x05\0\xff\xff\xff\x7f" + bytes(100), "unknown"),
    ],
)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=name):
        sniff(data)


def test_nothing_is_a_malformed_request() -> None:
    with pytest.raises(RequestError, match="0 bytes") as caught:
        sniff(b"")
    assert type(caught.value) is RequestError


def test_formats_are_told_by_their_content() -> None:
    pixels = makers.radiograph(bits=8)
    assert sniff(makers.jpeg(pixels)) == "jpeg"
    assert sniff(makers.png(pixels)) == "png"
    assert sniff(makers.dicom(pixels, bits=8)) == "dicom"
    assert sniff(bytes(128) + b"DICM") == "dicom"
    assert sniff(b"II*\0" + bytes(124) + b"DICM") == "dicom"
