"""File format detection by the first bytes, never by the name or the Content-Type."""

from __future__ import annotations

import re
from typing import Final

from cxrserve.errors import RequestError, UnsupportedFormat
from cxrserve.imaging.radiograph import ImageFormat

PREAMBLE_END: Final = 132  # 128 bytes and "DICM", PS3.10 7.1

# Known only so that a refusal can say what was sent. Order counts: the longer signature first.
_UNSUPPORTED: Final[tuple[tuple[bytes, str], ...]] = (
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "a TIFF image"),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"RIFF....WEBP", "a WebP image"),
    (rb"BM", "a BMP image"),
    (rb"\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51", "a JPEG 2000 image outside DICOM"),
    (rb"\0\0\0\x0cJXL \r\n|\xff\x0a", "a JPEG XL image"),
    (rb"....ftyp(avif|heic|heix|mif1)", "an AVIF or HEIC image"),
    (rb"....ftyp", "a video"),
    (rb"%PDF-", "a PDF document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document"),
    (rb"PK(\x03\x04|\x05\x06)", "a ZIP archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (rb"\x7fELF", "an ELF program"),
    (rb"MZ", "a Windows program"),
    (rb"n\+1\0|.{344}n[i+]1\0", "a NIfTI volume"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", "an SVG drawing"),
    (rb"\s*<(!DOCTYPE html|html|head|body|script)", "an HTML page"),
    (rb"\s*<\?xml", "an XML document"),
    (rb"\s*[{\[]", "a JSON document"),
)
_OTHER_PATTERNS: Final = tuple((re.compile(p, re.DOTALL | re.IGNORECASE), name) for p, name in _UNSUPPORTED)

_FIRST_ELEMENT_EXPLICIT: Final = re.compile(rb"(\x02\0|\x08\0)[\s\S]{2}(UL|OB|UI|CS|SH|DA|TM|LO|SQ|UN)")
_MAX_FIRST_VALUE: Final = 64 * 2**10


def sniff(data: bytes) -> ImageFormat:
    """The format of `data`.

    Raises:
        RequestError: there are no bytes at all.
        UnsupportedFormat: neither DICOM nor JPEG nor PNG; the detail names what it is, where that is known.
    """
    if not data:
        raise RequestError("the file is empty (0 bytes). Send a DICOM, JPEG or PNG file.")
    if dicom_start(data) is not None:
        return "dicom"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    raise UnsupportedFormat(f"this is {_name(data)}, not a DICOM, JPEG or PNG file. Send one of these three.")


def dicom_start(data: bytes) -> int | None:
    """The offset of the first element of a DICOM file, None if `data` is no DICOM file.

    "DICM" after the preamble decides, whatever the preamble holds (TIFF and PE files hide there). A file
    without preamble begins with group 0002 or 0008, as older archives and raw data sets do.
    """
    if data[PREAMBLE_END - 4 : PREAMBLE_END] == b"DICM":
        return PREAMBLE_END
    if data[:4] == b"DICM":
        return 4
    if _FIRST_ELEMENT_EXPLICIT.match(data):
        return 0
    if data[:2] == b"\x08\0":  # implicit VR little endian: the length follows the tag at once
        return 0 if int.from_bytes(data[4:8], "little") <= min(len(data), _MAX_FIRST_VALUE) else None
    if data[:2] == b"\0\x08" and re.match(rb"[A-Z]{2}", data[4:6]):  # explicit VR big endian
        return 0
    return None


def _name(data: bytes) -> str:
    start = data[:1024]
    return next((name for pattern, name in _OTHER_PATTERNS if pattern.match(start)), "of an unknown kind")
