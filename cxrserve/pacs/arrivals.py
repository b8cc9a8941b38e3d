"""Data sets of C-STORE requests on their way in: kept as they came from the kernel, and counted.

pynetdicom copies each byte of a message six times and holds whole messages without a limit over all
associations. So the fragments of a stored object stay here. What pynetdicom sees in their place is a data
set of eight bytes, which names the object to whoever answers the request.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field
from typing import Final

from cxrserve.errors import CxrserveError, OutOfResources

PDV: Final = struct.Struct(">LBB")  # length, presentation context, message control header: PS3.8 9.3.5.1
LAST, COMMAND = 0b10, 0b01  # of the message control header: PS3.8 E.2
_ELEMENT: Final = struct.Struct("<HHL")  # of a command set, implicit VR little endian: PS3.7 6.3.1
_COMMAND_FIELD, _DATA_SET_TYPE = 0x0100, 0x0800  # PS3.7 E.1
_C_STORE_RQ: Final = 0x0001
_NO_DATA_SET: Final = 0x0101
_NAME: Final = struct.Struct(">Q")


class Memory:
    """Bytes that objects of all associations may take while they arrive. Thread-safe."""

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


@dataclass(kw_only=True, slots=True)
class Arrival:
    """One data set.

    Attributes:
        fragments: views of the PDUs that brought them.
        counted: bytes that were taken of the memory.
        dropped: there was no memory, so what came is gone.
    """

    fragments: list[memoryview] = field(default_factory=list)
    counted: int = 0
    dropped: bool = False

    def part10(self, head: bytes) -> bytes:
        """The data set behind `head`; once, as the fragments are let go.

        Raises:
            OutOfResources: there was no memory for it.
        """
        if self.dropped:
            raise OutOfResources(
                "too many objects arrive at once (CXRSERVE_DICOM_RECEIVE_BYTES). Send this one again.",
                retry_after_s=5,
            )
        whole = b"".join((head, *self.fragments))
        self.fragments.clear()
        return whole


class Arrivals:
    """The data sets of one connection. Written to by the thread that reads, taken by the one that answers."""

    def __init__(self, memory: Memory) -> None:
        self._memory: Final = memory
        self._lock: Final = threading.Lock()
        self._command: Final = bytearray()
        self._current: Arrival | None = None
        self._whole: Final[dict[bytes, Arrival]] = {}
        self._count = 0

    @property
    def storing(self) -> bool:
        """True while the fragments that come belong to a C-STORE request."""
        return self._current is not None

    def command(self, fragment: memoryview, control: int) -> None:
        """Note a fragment of a command set."""
        self._command.extend(fragment)
        if control & LAST:
            field, kind = _found(self._command)
            self._command.clear()
            self._let_go(self._current)
            self._current = Arrival() if field == _C_STORE_RQ and kind != _NO_DATA_SET else None

    def fragment(self, fragment: memoryview, control: int) -> bytes:
        """Keep a fragment of an object; what pynetdicom is to see of it."""
        with self._lock:
            current = self._current
            if current is None:  # closed meanwhile
                return b""
            if current.dropped or not self._memory.take(len(fragment)):
                self._memory.give_back(current.counted)
                current.fragments.clear()
                current.counted, current.dropped = 0, True
            else:
                current.fragments.append(fragment)
                current.counted += len(fragment)
            if not control & LAST:
                return b""
            self._count += 1
            name = _NAME.pack(self._count)
            self._whole[name] = current
            self._current = None
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
        self._let_go(arrival)

    def close(self) -> None:
        """Let go of all that was not taken. Idempotent."""
        with self._lock:
            left = [*self._whole.values()]
            self._whole.clear()
            current, self._current = self._current, None
        for each in (*left, current):
            self._let_go(each)

    def _let_go(self, arrival: Arrival | None) -> None:
        if arrival is not None:
            with self._lock:
                self._memory.give_back(arrival.counted)
                arrival.counted = 0
                arrival.fragments.clear()


def _found(command: bytearray) -> tuple[int | None, int | None]:
    """Command Field and Command Data Set Type of a command set."""
    found: dict[int, int] = {}
    position = 0
    while position + _ELEMENT.size <= len(command):
        _, element, length = _ELEMENT.unpack_from(command, position)
        position += _ELEMENT.size
        if length == 2 and position + 2 <= len(command):
            found[element] = int.from_bytes(command[position : position + 2], "little")
        position += length
    return found.get(_COMMAND_FIELD), found.get(_DATA_SET_TYPE)
