"""Generated DICOM objects: nested, empty, private, deflated, of undefined length, and damaged."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Final

EXPLICIT: Final = "1.2.840.10008.1.2.1"
IMPLICIT: Final = "1.2.840.10008.1.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
SYNTAXES: Final = (EXPLICIT, IMPLICIT, DEFLATED, BIG_ENDIAN, "1.2.840.10008.1.2.4.50", "1.2.3", "")
_UNDEFINED: Final = 0xFFFFFFFF
_STRUCTURE_BYTES: Final = 12_000  # of generated structure, which is slow to make; repetition fills the rest
# Sequences that are kept, that are not, and that are private or unknown.
_SEQUENCES: Final = (
    0x00081115,
    0x00081032,
    0x00082218,
    0x00283000,
    0x00283010,
    0x00400555,
    0x00091001,
    0x77771001,
)
_TEXTS: Final = (
    0x00080005,
    0x00080060,
    0x00100010,
    0x00100020,
    0x00080050,
    0x00081030,
    0x00180015,
    0x00091010,
)
_VRS: Final = (b"LO", b"SH", b"UI", b"PN", b"OB", b"UN", b"SQ", b"DS", b"ZZ", b"\0\0")
_LONG: Final = frozenset({b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT", b"UC", b"UR", b"OD", b"OL", b"OV"})


class Maker:
    """Makes one object from a seed.

    Args:
        max_bytes: most bytes of a data set, before it is deflated.
    """

    def __init__(self, seed: int, *, max_bytes: int) -> None:
        self._random: Final = random.Random(seed)
        self._max_bytes: Final = max_bytes
        self._left = min(max_bytes, _STRUCTURE_BYTES)
        self.syntax: Final = self._random.choice(SYNTAXES)
        self._implicit: Final = self.syntax == IMPLICIT
        self._order: Final = ">" if self.syntax == BIG_ENDIAN else "<"

    def part10(self) -> bytes:
        """The object as a Part 10 file of at most `max_bytes`, by and large."""
        body = b"".join(self._needed()) + b"".join(self._elements(0))
        if self._random.random() < 0.5:
            body += self._repeated()
        if self._random.random() < 0.3:
            body = self._damaged(body)
        if self.syntax == DEFLATED:
            if self._random.random() < 0.2:  # it unfolds a hundredfold and more
                body += self._random.choice((bytes(2**20), self._repeated())) * self._random.randrange(1, 99)
            deflater = zlib.compressobj(9, wbits=-15)
            body = deflater.compress(body) + deflater.flush()
        meta = _meta(self.syntax)
        file = bytes(128) + b"DICM" + meta + body
        return self._damaged(file) if self._random.random() < 0.1 else file

    def _needed(self) -> list[bytes]:
        values = ((0x00080016, b"1.2.840.10008.5.1.4.1.1.1\0"), (0x00080018, b"1.2.3.4\0"))
        more = ((0x0020000D, b"1.2.3\0"), (0x0020000E, b"1.2.5\0"))
        return [self._element(tag, b"UI", value) for tag, value in (*values, *more)]

    def _elements(self, depth: int) -> list[bytes]:
        return [self._any(depth) for _ in range(self._random.randrange(6)) if self._left > 0]

    def _any(self, depth: int) -> bytes:
        if depth < 80 and self._random.random() < 0.55:
            return self._sequence(self._random.choice(_SEQUENCES), depth)
        size = 2 * int(self._random.expovariate(1 / 20))
        if self._random.random() < 0.02:
            size = min(self._left, self._random.randrange(2, 200_000, 2))
        self._left -= size + 12
        return self._element(
            self._random.choice(_TEXTS), self._random.choice(_VRS), self._random.randbytes(max(0, size))
        )

    def _sequence(self, tag: int, depth: int) -> bytes:
        items = [
            self._item(b"".join(self._elements(depth + 1)))
            for _ in range(self._random.randrange(4))
            if self._left > 0
        ]
        body = b"".join(items)
        self._left -= 32
        if self._random.random() < 0.5:
            ends = self._random.random() < 0.95
            return self._head(tag, b"SQ", _UNDEFINED) + body + ends * self._delimiter(0xE0DD)
        return self._head(tag, b"SQ", len(body)) + body

    def _item(self, body: bytes) -> bytes:
        if self._random.random() < 0.5:
            return self._pack("HHI", 0xFFFE, 0xE000, _UNDEFINED) + body + self._delimiter(0xE00D)
        return self._pack("HHI", 0xFFFE, 0xE000, len(body)) + body

    def _repeated(self) -> bytes:
        """A great many of one small thing: what makes a cheap file expensive."""
        tag = self._random.choice(_SEQUENCES)
        kind = self._random.randrange(5)
        empty = self._pack("HHI", 0xFFFE, 0xE000, 0)
        if kind == 0:
            unit, head, tail = empty, self._head(tag, b"SQ", _UNDEFINED), self._delimiter(0xE0DD)
        elif kind == 1:
            unit, head, tail = self._head(tag, b"SQ", 0), b"", b""
        elif kind == 2:
            unit, head, tail = self._element(self._random.choice(_TEXTS), b"LO", b""), b"", b""
        elif kind == 3:
            unit = self._head(tag, b"SQ", _UNDEFINED) + self._pack("HHI", 0xFFFE, 0xE000, _UNDEFINED)
            head, tail = b"", b""
        else:
            unit, head, tail = b"A\\", self._head(0x00081140, b"UN", _UNDEFINED), b""
        count = self._max_bytes // len(unit)
        return head + unit * count + tail

    def _element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        return self._head(tag, vr, len(value)) + value

    def _head(self, tag: int, vr: bytes, length: int) -> bytes:
        group, element = tag >> 16, tag & 0xFFFF
        if self._implicit:
            return self._pack("HHI", group, element, length)
        if vr in _LONG:
            return self._pack("HH", group, element) + vr + b"\0\0" + self._pack("I", length)
        return self._pack("HH", group, element) + vr + self._pack("H", min(length, 0xFFFF))

    def _delimiter(self, element: int) -> bytes:
        return self._pack("HHI", 0xFFFE, element, 0)

    def _pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self._order + form, *values)

    def _damaged(self, data: bytes) -> bytes:
        """`data` with a few bytes changed, or cut, or a piece of it repeated."""
        changed = bytearray(data)
        for _ in range(self._random.randrange(1, 6)):
            if not changed:
                break
            at = self._random.randrange(len(changed))
            operator = self._random.randrange(4)
            if operator == 0:
                changed[at] = self._random.choice((0, 0xFF, 0x7F, 0x80, self._random.randrange(256)))
            elif operator == 1:
                del changed[at:]
            elif operator == 2:
                changed[at : at + 4] = b"\xff\xff\xff\xff"
            else:
                changed[at:at] = changed[at : at + self._random.randrange(64)]
        return bytes(changed)


def _meta(syntax: str) -> bytes:
    uid = syntax.encode()
    uid += b"\0" * (len(uid) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(element)) + element
