"""The orientation in a JPEG's Exif segment, and nothing else of it (Exif 2.32, TIFF 6.0).

Read here and not by Pillow, which also believes XMP and stops at other segments that are malformed.
"""

from __future__ import annotations

import struct
from typing import Final

from cxrserve.imaging.codestream import jpeg_segments

_APP1: Final = 0xE1
_EXIF: Final = b"Exif\0\0"  # 4.7.2.1
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_ORIENTATION: Final = 0x0112  # 4.6.4
_SHORT: Final = 3
_ENTRY_BYTES: Final = 12


def exif_orientation(stream: bytes) -> int:
    """1 to 8; 1, which is upright, where the file does not say or cannot be understood."""
    for marker, body in jpeg_segments(stream):
        if marker == _APP1 and body.startswith(_EXIF):
            try:
                return _orientation(body[len(_EXIF) :])
            except struct.error:  # cut off
                return 1
    return 1


def _orientation(tiff: bytes) -> int:
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return 1
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for index in range(count):
        entry = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + index * _ENTRY_BYTES)
        if entry[:3] == (_ORIENTATION, _SHORT, 1):
            return entry[3] if 1 <= entry[3] <= 8 else 1
    return 1
