"""Walks over the elements of a data set without building them.

A header may hold sequences of hundreds of thousands of items, of a few bytes each. pydicom builds every item
of a sequence of undefined length, even of one that nobody asked for: 4 kB of input cost 43 s and 250 MB. This
walk looks at tags and lengths alone (PS3.5 7.1, 7.5), keeps a stack of open sequences and items, and bounds
their depth and number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

from cxrserve.errors import UnreadableImage

MAX_ELEMENTS: Final = 50_000  # elements and items before Pixel Data; radiographs have some hundred
MAX_DEPTH: Final = 64  # sequences within sequences; an enhanced multi-frame object has five

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
# PS3.5 7.1.2: two reserved bytes, then a length of four.
_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)


class Element(NamedTuple):
    """One element of the data set's top level.

    Attributes:
        tag: group and element as one number.
        vr: as written; None in implicit VR.
        start: where its value begins in the data.
        length: bytes of its value. For an undefined length: up to its delimiter, which is not counted.
        undefined: it was written with undefined length.
    """

    tag: int
    vr: str | None
    start: int
    length: int
    undefined: bool


def walk(
    data: bytes,
    start: int,
    *,
    implicit: bool,
    little: bool,
    stop_at: int,
    max_elements: int = MAX_ELEMENTS,
) -> Iterator[Element]:
    """The elements from `start` on, in the order of the file, up to the first with a tag >= `stop_at`.

    Args:
        data: a data set.
        start: where its first element begins.
        implicit: it is in implicit VR.
        little: it is in little endian.
        max_elements: the most elements and items that are passed; a decode worker, which has a limit on its
            time, may allow more than the service.

    Raises:
        EOFError: the data ends inside an element.
        UnreadableImage: more elements and items than `max_elements`, or deeper than `MAX_DEPTH`.
    """
    walker = _Walker(data, little=little, max_elements=max_elements)
    position = start
    while position < len(data):
        tag, vr, length, value = walker.header(position, implicit=implicit)
        if tag >= stop_at:
            return
        undefined = length == _UNDEFINED
        if undefined:
            end, position = walker.skip(value, implicit=implicit or vr == b"UN")
        else:
            end = position = value + length
        if end > len(data):
            raise EOFError("an element reaches beyond the end of the data")
        yield Element(tag, vr.decode("ascii", "replace") if vr else None, value, end - value, undefined)


def once(data: bytes, elements: Iterable[Element], tags: Collection[int | None]) -> Iterator[Element]:
    """The elements, and each of `tags` only where it stands first. PS3.5 7.1: an element stands there once.

    Raises:
        UnreadableImage: one of `tags` stands there twice with different values. One reader would take the
            first, another the last.
    """
    first: dict[int, Element] = {}
    for element in elements:
        if element.tag in tags and (before := first.setdefault(element.tag, element)) is not element:
            if before.vr != element.vr or _value(data, before) != _value(data, element):
                raise twice(element.tag)
            continue
        yield element


def twice(tag: int) -> UnreadableImage:
    """The error for an element that stands there twice with different values."""
    return UnreadableImage(
        f"the element ({tag >> 16:04X},{tag & 0xFFFF:04X}) stands there twice with different values. Send a "
        "sound file."
    )


def _value(data: bytes, element: Element) -> bytes:
    return data[element.start : element.start + element.length]


def count_inside(
    data: bytes, start: int, end: int, *, implicit: bool, little: bool, is_sequence: Callable[[int], bool]
) -> int:
    """The number of elements, items and delimiters in the value of a sequence, at all depths.

    Args:
        is_sequence: whether a tag is one of a sequence; asked in implicit VR alone.

    Raises:
        EOFError: the data end inside an element.
        UnreadableImage: more than `MAX_ELEMENTS`, or an unknown VR of undefined length.
    """
    walker = _Walker(data, little=little, max_elements=MAX_ELEMENTS)
    position = start
    while position < end:
        tag, vr, length, value = walker.header(position, implicit=implicit)
        if vr == b"UN" and length == _UNDEFINED:
            raise UnreadableImage("a sequence has elements of unknown VR and undefined length. Remove them.")
        inside = tag >> 16 == 0xFFFE or length == _UNDEFINED or vr == b"SQ"
        position = value if inside or (vr is None and is_sequence(tag)) else value + length
    return walker.count


class _Walker:
    def __init__(self, data: bytes, *, little: bool, max_elements: int) -> None:
        order = "<" if little else ">"
        self._data = data
        self._tag_length = struct.Struct(f"{order}HHL")
        self._tag_vr_length = struct.Struct(f"{order}HH2sH")
        self._length = struct.Struct(f"{order}L")
        self._max_elements = max_elements
        self.count = 0

    def header(self, position: int, *, implicit: bool) -> tuple[int, bytes | None, int, int]:
        """Tag, VR and length of the element at `position`, and where its value begins."""
        self.count += 1
        if self.count > self._max_elements:
            raise UnreadableImage(
                f"the header has more than {self._max_elements} elements and items: too many. "
                "Remove sequences from it."
            )
        try:
            if implicit:
                group, element, length = self._tag_length.unpack_from(self._data, position)
                return group << 16 | element, None, length, position + 8
            group, element, vr, length = self._tag_vr_length.unpack_from(self._data, position)
            if group == 0xFFFE:  # items and delimiters have no VR: PS3.5 7.5
                _, _, length = self._tag_length.unpack_from(self._data, position)
                return group << 16 | element, None, length, position + 8
            if vr in _LONG_VRS:
                (length,) = self._length.unpack_from(self._data, position + 8)
                return group << 16 | element, vr, length, position + 12
        except struct.error as error:
            raise EOFError("the data ends inside an element") from error
        return group << 16 | element, vr, length, position + 8

    def skip(self, position: int, *, implicit: bool) -> tuple[int, int]:
        """End of the content, and of the delimiter, of a value of undefined length that begins at `position`.

        Its content is items, of a sequence or of encapsulated pixels. Where a delimiter is missing or is
        zeros, the value ends where an element begins that cannot belong to it.
        """
        # One entry for each open sequence (False) and item (True), with the encoding inside of it.
        stack: list[tuple[bool, bool]] = [(False, implicit)]
        while True:
            in_item, implicit = stack[-1]
            tag, vr, length, value = self.header(position, implicit=implicit)
            if in_item:
                if tag in (_ITEM_END, _ITEM, _SEQUENCE_END):
                    stack.pop()
                    position = value if tag == _ITEM_END else position
                elif length == _UNDEFINED:
                    self._push(stack, False, implicit or vr == b"UN")
                    position = value
                else:
                    position = value + length
            elif tag == _ITEM:
                if length == _UNDEFINED:
                    self._push(stack, True, implicit)
                    position = value
                else:
                    position = value + length
            else:
                stack.pop()
                after = value if tag == _SEQUENCE_END or (tag, length) == (0, 0) else position
                if not stack:
                    return position, after
                position = after

    def _push(self, stack: list[tuple[bool, bool]], item: bool, implicit: bool) -> None:
        if len(stack) >= 2 * MAX_DEPTH:
            raise UnreadableImage(
                f"the header has sequences within sequences, more than {MAX_DEPTH} deep. Remove those that "
                "it does not need."
            )
        stack.append((item, implicit))
