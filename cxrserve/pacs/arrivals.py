"""Data sets of C-STORE requests on their way in: written to the archive's disk as they come, and counted.

pynetdicom copies each byte of a message six times and holds whole messages without a limit over all
associations. So what a stored object is made of never reaches it. What pynetdicom sees in its place is a data
set of eight bytes, which names the object to whoever answers the request.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from cxrserve.archive.incoming import Incoming
from cxrserve.errors import CxrserveError, OutOfResources

PDV: Final = struct.Struct(">LBB")  # length, presentation context, message control header: PS3.8 9.3.5.1
LAST, COMMAND = 0b10, 0b01  # of the message control header: PS3.8 E.2
_ELEMENT: Final = struct.Struct("<HHL")  # of a command set, implicit VR little endian: PS3.7 6.3.1
_SOP_CLASS, _COMMAND_FIELD, _DATA_SET_TYPE, _SOP_INSTANCE = 0x0002, 0x0100, 0x0800, 0x1000  # PS3.7 E.1
_C_STORE_RQ: Final = 0x0001
_NO_DATA_SET: Final = 0x0101
_NAME: Final = struct.Struct(">Q")


class Allowance:
    """Bytes that unfinished objects of all associations may take together. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._lock: Final = threading.Lock()

    def take(self, count: int) -> bool:
        """True where `count` bytes were left; they are to be given back."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give_back(self, count: int) -> None:
        """Bytes that are no longer needed."""
        with self._lock:
            self._left += count


@dataclass(frozen=True, kw_only=True, slots=True)
class Announced:
    """What a C-STORE request says of the data set that follows it; nothing of it was checked.

    Attributes:
        context: identifier of its presentation context.
    """

    context: int
    sop_class_uid: str
    sop_instance_uid: str


class Arrival:
    """One data set, on its way to disk. After the first problem what comes is let go.

    Args:
        announced: what its command says of it.
        begin: makes the file for it.

    Attributes:
        size: bytes that came.
    """

    def __init__(
        self, announced: Announced, begin: Callable[[Announced], Incoming], allowance: Allowance
    ) -> None:
        self.announced: Final = announced
        self.size = 0
        self._allowance: Final = allowance
        self._counted = 0
        self._file: Incoming | None = None
        self._problem = CxrserveError("the object was let go.")
        try:
            self._file = begin(announced)
        except CxrserveError as error:
            self._problem = error

    def write(self, piece: memoryview) -> None:
        """Append bytes."""
        self.size += len(piece)
        with self._watched() as file:
            if file is None:
                return
            if not self._allowance.take(len(piece)):
                raise OutOfResources(
                    "too many objects arrive at once (CXRSERVE_DICOM_RECEIVE_BYTES). Send this one again.",
                    retry_after_s=5,
                )
            self._counted += len(piece)
            file.write(piece)

    def finish(self) -> None:
        """There are no more bytes."""
        with self._watched() as file:
            if file is not None:
                file.finish()

    @contextmanager
    def _watched(self) -> Iterator[Incoming | None]:
        try:
            yield self._file
        except CxrserveError as error:
            self.discard()
            self._problem = error

    def file(self) -> Incoming:
        """What came, finished.

        Raises:
            CxrserveError: what stood in its way.
        """
        if self._file is None:
            raise self._problem
        return self._file

    def discard(self) -> None:
        """Let go of the file, unless it was kept. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.discard()
        self._allowance.give_back(self._counted)
        self._counted = 0


class Arrivals:
    """The data sets of one connection. Written to by the thread that reads, taken by the one that answers.

    Attributes:
        begin: makes the file for an announced object; set before the first one can come.
    """

    begin: Callable[[Announced], Incoming]

    def __init__(self, allowance: Allowance) -> None:
        self._allowance: Final = allowance
        self._lock: Final = threading.Lock()
        self._command: Final = bytearray()
        self._current: Arrival | None = None
        self._whole: Final[dict[bytes, Arrival]] = {}
        self._count = 0
        self._closed = False

    @property
    def storing(self) -> bool:
        """True while the fragments that come belong to a C-STORE request."""
        return self._current is not None

    def command(self, fragment: bytearray, context: int, control: int) -> None:
        """Note a fragment of a command set."""
        self._command.extend(fragment)
        if not control & LAST:
            return
        announced = _announced(self._command, context)
        self._command.clear()
        with self._lock:
            current, self._current = self._current, None
            if current is not None:  # another command in the middle of its data set
                current.discard()
            if announced is not None and not self._closed:
                self._current = Arrival(announced, self.begin, self._allowance)

    def write(self, piece: memoryview) -> None:
        """Append bytes to the object that comes."""
        with self._lock:
            if self._current is not None:
                self._current.write(piece)

    def finish(self) -> bytes:
        """The object that comes is complete; its name."""
        with self._lock:
            current, self._current = self._current, None
            if current is None:  # closed meanwhile
                return b""
            current.finish()
            self._count += 1
            name = _NAME.pack(self._count)
            self._whole[name] = current
            return name

    def take(self, name: bytes) -> Arrival:
        """The object with this name; it is to be given to `done`.

        Raises:
            CxrserveError: there is none.
        """
        with self._lock:
            found = self._whole.pop(name, None)
        if found is None:
            raise CxrserveError("the request has no data set.")
        return found

    def done(self, arrival: Arrival) -> None:
        """Let go of an object that was taken."""
        with self._lock:
            arrival.discard()

    def close(self) -> None:
        """Let go of all that was not taken, and of what still comes. Idempotent."""
        with self._lock:
            self._closed = True
            left = [*self._whole.values()]
            if self._current is not None:
                left.append(self._current)
            self._whole.clear()
            self._current = None
            for each in left:
                each.discard()


def _announced(command: bytearray, context: int) -> Announced | None:
    """What a command set announces, where it is a C-STORE request with a data set."""
    found: dict[int, bytes] = {}
    position = 0
    while position + _ELEMENT.size <= len(command):
        _, element, length = _ELEMENT.unpack_from(command, position)
        position += _ELEMENT.size
        found[element] = bytes(command[position : position + length])
        position += length
    if _number(found, _COMMAND_FIELD) != _C_STORE_RQ or _number(found, _DATA_SET_TYPE) == _NO_DATA_SET:
        return None
    return Announced(
        context=context,
        sop_class_uid=_text(found, _SOP_CLASS),
        sop_instance_uid=_text(found, _SOP_INSTANCE),
    )


def _number(found: dict[int, bytes], element: int) -> int | None:
    value = found.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _text(found: dict[int, bytes], element: int) -> str:
    return found.get(element, b"").strip(b"\0 ").decode("ascii", "replace")
