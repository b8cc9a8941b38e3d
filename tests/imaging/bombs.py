"""Small files that ask for very much."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from tests.imaging import makers

PIXELS: Final = makers.radiograph()
BODY: Final = makers.bare(makers.dataset(PIXELS), implicit=False)


def jpeg_2000(side: int = 60000) -> bytes:
    """A codestream whose header says `side` × `side`, and so does the data set."""
    stream = bytearray(makers.compress(PIXELS, JPEG2000Lossless, 12))
    stream[8:16] = struct.pack(">II", side, side)  # Xsiz, Ysiz
    stream[24:32] = struct.pack(">II", side, side)  # one tile
    return makers.encapsulated(PIXELS, [bytes(stream)], syntax=JPEG2000Lossless, Rows=side, Columns=side)


def rle(side: int = 65535) -> bytes:
    """A few runs for `side` × `side` pixels."""
    runs = bytes((129, 0)) * 200
    stream = struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13) + runs * 2
    return makers.encapsulated(PIXELS, [stream], syntax=RLELossless, Rows=side, Columns=side)


def deflated() -> bytes:
    """400 kB that unfold to 400 MB."""
    squeeze = zlib.compressobj(1, wbits=-15)
    body = squeeze.compress(makers.element(0x00090010, b"OB", b"", length=400 * 2**20))
    body += b"".join(squeeze.compress(bytes(2**20)) for _ in range(400)) + squeeze.flush()
    return makers.file_of(body, DeflatedExplicitVRLittleEndian)


def png(side: int = 13000) -> bytes:
    """One long run of zeros, sound in every respect."""
    squeeze = zlib.compressobj(1)
    lines = b"".join(squeeze.compress(bytes(side + 1)) for _ in range(side)) + squeeze.flush()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", lines), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(makers.png_chunk(*chunk) for chunk in chunks)


def nested(depth: int) -> bytes:
    """Sequences in sequences, of undefined length, without an end."""
    level = makers.element(0x00081140, b"SQ", b"", length=0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return makers.file_of(level * depth + BODY)


def long_element(vr: bytes = b"OB") -> bytes:
    """An element that claims 4 GB."""
    return makers.file_of(makers.element(0x00090010, vr, b"", length=0xFFFFFFFE) + BODY)


def long_pixel_data() -> bytes:
    """Pixel Data that claim 4 GB, and are not there."""
    at = BODY.index(b"\xe0\x7f\x10\0")
    return makers.file_of(BODY[:at] + makers.element(0x7FE00010, b"OW", b"", length=0xFFFFFFFE))


def many_fragments() -> bytes:
    """100,000 fragments of two bytes."""
    return makers.encapsulated(PIXELS, [b"\xff\xd8"] * 100_000, syntax=JPEGLosslessSV1)


def many_elements() -> bytes:
    """300,000 private elements before the image."""
    return makers.file_of(makers.element(0x00090010, b"LO", b"") * 300_000 + BODY)


def wide_palette() -> bytes:
    """A palette that claims more entries than it brings."""
    tables: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [0, 0, 16]  # 0 is 65536
        tables[f"{colour}PaletteColorLookupTableData"] = bytes(4)
    grey = makers.radiograph(bits=8)
    return makers.dicom(grey, bits=8, photometric="PALETTE COLOR", **tables)


@cache
def jpeg_scans(side: int = 8000, scans: int = 150) -> bytes:
    """A progressive JPEG that goes over its picture again and again: seconds of honest work."""
    data = makers.jpeg(np.zeros((side, side), np.uint8), progressive=True)
    scan = data.rindex(b"\xff\xda")
    return data[:scan] + data[scan:-2] * scans + data[-2:]


REFUSED: Final[dict[str, Callable[[], bytes]]] = {
    "jpeg 2000 60000²": jpeg_2000,
    "jpeg 2000 9000²": lambda: jpeg_2000(9000),
    "rle 65535²": rle,
    "rle 9000²": lambda: rle(9000),
    "deflated 400 MB": deflated,
    "png 13000²": png,
    "nested 500": lambda: nested(500),
    "nested 5,000": lambda: nested(5_000),
    "nested 100,000": lambda: nested(100_000),
    "element of 4 GB": long_element,
    "text of 4 GB": lambda: long_element(b"UT"),
    "pixel data of 4 GB": long_pixel_data,
    "100,000 fragments": many_fragments,
    "palette": wide_palette,
    "3,000 scans": lambda: jpeg_scans(200, 3000),
}
