"""Data elements in explicit VR little endian (PS3.5 7.1.2), encoded as they are made.

A report has some thousand elements, most of which repeat. To build each as an object of pydicom and write it
takes a tenth of a second of CPU time a report; to put the bytes together takes a few milliseconds. The bytes
are the same: sequences and items of explicit length, as pydicom writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

_ITEM: Final = b"\xfe\xff\x00\xe0"  # (FFFE,E000)
_MAX_SHORT: Final = 0xFFFF
_DATASET: Final = 132  # behind preamble and prefix the meta information begins, with its own length


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element; `value` has an even length.

    Raises:
        ValueError: the value is too long for its VR.
    """
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
    if vr in EXPLICIT_VR_LENGTH_32:
        return head + struct.pack("<HI", 0, len(value)) + value
    if len(value) > _MAX_SHORT:
        raise ValueError(
            f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has {len(value)} bytes; an element of VR {vr} holds "
            f"{_MAX_SHORT} at most"
        )
    return head + struct.pack("<H", len(value)) + value


def text_element(tag: int, vr: str, value: str) -> bytes:
    """An element of ASCII text, padded to an even length: a UID with a zero byte, other text with a space.

    Raises:
        UnicodeEncodeError: `value` is not ASCII.
    """
    encoded = value.encode("ascii")
    if len(encoded) % 2:
        encoded += b"\0" if vr == "UI" else b" "
    return element(tag, vr, encoded)


def floats_element(tag: int, values: Sequence[float]) -> bytes:
    """An element of VR FL: 32 bits a value."""
    return element(tag, "FL", struct.pack(f"<{len(values)}f", *values))


def sequence(tag: int, items: Iterable[bytes]) -> bytes:
    """A sequence of items; each is the elements that it holds, in ascending order."""
    return element(tag, "SQ", b"".join(_ITEM + struct.pack("<I", len(item)) + item for item in items))


def with_element(part10: bytes, tag: int, encoded: bytes) -> bytes:
    """The DICOM file `part10` with the encoded element `tag` at its place.

    Args:
        part10: in explicit VR little endian; no element before `tag` has an undefined length.

    Raises:
        ValueError: `part10` has the element already.
    """
    at = _DATASET
    while at < len(part10):
        group, number = struct.unpack_from("<HH", part10, at)
        here = group << 16 | number
        if here == tag:
            raise ValueError(f"the file has the element ({group:04X},{number:04X}) already")
        if here > tag:
            break
        if part10[at + 4 : at + 6].decode("ascii") in EXPLICIT_VR_LENGTH_32:
            at += 12 + int(struct.unpack_from("<I", part10, at + 8)[0])
        else:
            at += 8 + int(struct.unpack_from("<H", part10, at + 6)[0])
    return part10[:at] + encoded + part10[at:]
