"""Incoming C-STORE data sets: written to the archive's disk fragment by fragment, within a byte budget.

pynetdicom copies each byte of a message six times and holds whole messages, without a limit over all
associations. So the fragments of a stored object never reach it. In their place pynetdicom gets a data set of
eight bytes: a handle with which the C-STORE handler finds the file.

pynetdicom's own setting for this, STORE_RECV_CHUNKED_DATASET, was not chosen after reading its source; it was
not measured. It writes each object to a temporary file, from which the archive would have to copy it, and it
has no limit over all associations. The PDUs of a data set still pass through its threads and its queue.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.errors import CxrserveError, OutOfResources

PDV: Final = struct.Struct(">LBB")  # length, presentation context, message control header: PS3.8 9.3.5.1
LAST, COMMAND = 0b10, 0b01  # of the message control header: PS3.8 E.2
_ELEMENT: Final = struct.Struct("<HHL")  # of a command set, implicit VR little endian: PS3.7 6.3.1
_SOP_CLASS, _COMMAND_FIELD, _DATA_SET_TYPE, _SOP_INSTANCE = 0x0002, 0x0100, 0x0800, 0x1000  # PS3.7 E.1
_C_STORE_RQ: Final = 0x0001
_NO_DATA_SET: Final = 0x0101
_HANDLE: Final = struct.Struct(">Q")


class ByteBudget:
    """Bytes that unfinished objects of several associations may take together. Thread-safe.

    Args:
        whole: a larger budget, of which this one is a share.
    """

    def __init__(self, max_bytes: int, whole: ByteBudget | None = None) -> None:
        self._left = max_bytes
        self._whole: Final = whole
        self._lock: Final = threading.Lock()

    def take(self, count: int) -> bool:
        """Reserve `count` bytes; False where fewer are left. The caller gives them back."""
        with self._lock:
            if count > self._left or (self._whole is not None and not self._whole.take(count)):
                return False
            self._left -= count
            return True

    def give_back(self, count: int) -> None:
        """Return bytes to the budget."""
        with self._lock:
            self._left += count
        if self._whole is not None:
            self._whole.give_back(count)


class ByteBudgets:
    """The budget of all associations, and the share of each address. Thread-safe.

    Args:
        max_bytes: of all addresses together.
        max_share_bytes: of one address.
    """

    def __init__(self, max_bytes: int, max_share_bytes: int) -> None:
        self._whole: Final = ByteBudget(max_bytes)
        self._max_share_bytes: Final = max_share_bytes
        self._shares: Final[WeakValueDictionary[str, ByteBudget]] = WeakValueDictionary()
        self._lock: Final = threading.Lock()

    def of(self, address: str) -> ByteBudget:
        """The share of `address`, which all its associations have in common."""
        with self._lock:
            share = self._shares.get(address)
            if share is None:
                share = self._shares[address] = ByteBudget(self._max_share_bytes, self._whole)
            return share


@dataclass(frozen=True, kw_only=True, slots=True)
class CStoreCommand:
    """UIDs and context from a C-STORE request, not yet checked.

    Attributes:
        context: identifier of its presentation context.
    """

    context: int
    sop_class_uid: str
    sop_instance_uid: str


class IncomingDataset:
    """One data set that is being written to disk. After the first error its bytes are discarded.

    Args:
        command: of its C-STORE request.
        begin: opens the file for it.

    Attributes:
        size: bytes received.
    """

    def __init__(
        self, command: CStoreCommand, begin: Callable[[CStoreCommand], IncomingFile], budget: ByteBudget
    ) -> None:
        self.command: Final = command
        self.size = 0
        self._budget: Final = budget
        self._counted = 0
        self._file: IncomingFile | None = None
        self._problem = CxrserveError("the object was discarded.")
        try:
            self._file = begin(command)
        except CxrserveError as error:
            self._problem = error

    def write(self, piece: memoryview) -> None:
        """Append bytes."""
        self.size += len(piece)
        with self._recording_errors() as file:
            if file is None:
                return
            if not self._budget.take(len(piece)):
                raise OutOfResources(
                    "all incoming objects exceed CXRSERVE_DICOM_RECEIVE_BYTES. Send this one again later.",
                    retry_after_s=5,
                )
            self._counted += len(piece)
            file.write(piece)

    def finish(self) -> None:
        """End the data set: all its bytes were written."""
        with self._recording_errors() as file:
            if file is not None:
                file.finish()

    @contextmanager
    def _recording_errors(self) -> Iterator[IncomingFile | None]:
        try:
            yield self._file
        except CxrserveError as error:
            self.discard()
            self._problem = error

    def file(self) -> IncomingFile:
        """The finished file.

        Raises:
            CxrserveError: the first error while it was received.
        """
        if self._file is None:
            raise self._problem
        return self._file

    def discard(self) -> None:
        """Delete the file, unless the archive has stored it. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.discard()
        self._budget.give_back(self._counted)
        self._counted = 0


class IncomingDatasets:
    """The data sets of one connection. The reading thread writes them, the answering thread takes them.

    Attributes:
        begin: opens the file for a C-STORE request; set before the first request can arrive.
    """

    begin: Callable[[CStoreCommand], IncomingFile]

    def __init__(self, budget: ByteBudget) -> None:
        self._budget: Final = budget
        self._lock: Final = threading.Lock()
        self._command: Final = bytearray()
        self._current: IncomingDataset | None = None
        self._finished: Final[dict[bytes, IncomingDataset]] = {}
        self._count = 0
        self._taken = 0
        self._closed = False

    @property
    def busy(self) -> bool:
        """True while a data set is received, waits to be taken, or was taken and is not done."""
        return self._current is not None or bool(self._finished) or self._taken > 0

    @property
    def storing(self) -> bool:
        """True while incoming fragments belong to a C-STORE data set."""
        return self._current is not None

    def command(self, fragment: bytearray, context: int, control: int) -> None:
        """Add a fragment of a command set."""
        self._command.extend(fragment)
        if not control & LAST:
            return
        command = _c_store_command(self._command, context)
        self._command.clear()
        with self._lock:
            current, self._current = self._current, None
            if current is not None:  # another command in the middle of its data set
                current.discard()
            if command is not None and not self._closed:
                self._current = IncomingDataset(command, self.begin, self._budget)

    def write(self, piece: memoryview) -> None:
        """Append bytes to the current data set."""
        with self._lock:
            if self._current is not None:
                self._current.write(piece)

    def finish(self) -> bytes:
        """End the current data set; returns its handle."""
        with self._lock:
            current, self._current = self._current, None
            if current is None:  # closed meanwhile
                return b""
            current.finish()
            self._count += 1
            handle = _HANDLE.pack(self._count)
            self._finished[handle] = current
            return handle

    def take(self, handle: bytes) -> IncomingDataset:
        """The data set with this handle. The caller passes it to `done` at the end.

        Raises:
            CxrserveError: there is none.
        """
        with self._lock:
            dataset = self._finished.pop(handle, None)
            self._taken += dataset is not None
        if dataset is None:
            raise CxrserveError("the request has no data set.")
        return dataset

    def done(self, dataset: IncomingDataset) -> None:
        """Discard a data set that was taken, unless the archive has stored it."""
        with self._lock:
            self._taken -= 1
            dataset.discard()

    def close(self) -> None:
        """Discard all data sets that were not taken, and all bytes that still arrive. Idempotent."""
        with self._lock:
            self._closed = True
            datasets = [*self._finished.values()]
            if self._current is not None:
                datasets.append(self._current)
            self._finished.clear()
            self._current = None
            for dataset in datasets:
                dataset.discard()


def _c_store_command(command: bytearray, context: int) -> CStoreCommand | None:
    """The C-STORE request in a command set; None for any other command."""
    elements: dict[int, bytes] = {}
    position = 0
    while position + _ELEMENT.size <= len(command):
        _, element, length = _ELEMENT.unpack_from(command, position)
        position += _ELEMENT.size
        elements[element] = bytes(command[position : position + length])
        position += length
    if _number(elements, _COMMAND_FIELD) != _C_STORE_RQ or _number(elements, _DATA_SET_TYPE) == _NO_DATA_SET:
        return None
    return CStoreCommand(
        context=context,
        sop_class_uid=_text(elements, _SOP_CLASS),
        sop_instance_uid=_text(elements, _SOP_INSTANCE),
    )


def _number(elements: dict[int, bytes], element: int) -> int | None:
    value = elements.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _text(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").strip(b"\0 ").decode("ascii", "replace")
