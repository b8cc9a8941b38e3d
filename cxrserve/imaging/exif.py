"""The orientation in the Exif data of a JPEG or PNG, and nothing else of them (Exif 2.32, TIFF 6.0).

Read here and not by Pillow, which also believes XMP and stops at other segments that are malformed.
"""

from __future__ import annotations

import struct
from typing import Final, cast

from cxrserve.imaging.codestream import jpeg_segments
from cxrserve.imaging.orientation import Orientation

_APP1: Final = 0xE1
_EXIF: Final = b"Exif\0\0"  # 4.7.2.1
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_ORIENTATION: Final = 0x0112  # 4.6.4
# SHORT is what the standard asks for; BYTE and LONG are seen.
_TYPES: Final = {1: "B", 3: "H", 4: "I"}
_ENTRY_BYTES: Final = 12


def jpeg_orientation(stream: bytes) -> Orientation:
    """Orientation of a JPEG; 1, which is upright, where the file does not say or cannot be understood.

    The first Exif segment that names one decides. Data of more than one segment continue in the next.
    """
    blocks: list[bytes] = []
    for marker, body in jpeg_segments(stream):
        if marker == _APP1 and body.startswith(_EXIF):
            tiff = body[len(_EXIF) :]
            if tiff[:4] in _BYTE_ORDERS or not blocks:
                blocks.append(tiff)
            else:
                blocks[-1] += tiff
    return next((orientation for block in blocks if (orientation := tiff_orientation(block)) is not None), 1)


def tiff_orientation(tiff: bytes) -> Orientation | None:
    """Orientation in the first directory of a TIFF structure; None where it names none of 1 to 8."""
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for index in range(count):
            entry = directory + 2 + index * _ENTRY_BYTES
            tag, type_, values = struct.unpack_from(f"{order}HHI", tiff, entry)
            if tag == _ORIENTATION and type_ in _TYPES and values == 1:
                (value,) = struct.unpack_from(f"{order}{_TYPES[type_]}", tiff, entry + 8)
                return cast("Orientation", value) if 1 <= value <= 8 else None
    except struct.error:  # cut off
        return None
    return None
