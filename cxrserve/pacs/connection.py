"""One connection to the node: pynetdicom's socket, with an end to every PDU's length, size and time.

pynetdicom reads as many bytes as a PDU says it has, up to 4 GB, and waits for them for ever. Here a PDU is
read whole and looked at before pynetdicom sees it. What breaks a limit is shown to its state machine as a
PDU of no known type, which it answers as PS3.8 9.2 asks: A-ABORT, then the end of the connection.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from cxrserve.pacs.arrivals import COMMAND, LAST, PDV, Arrivals

_log: Final = logging.getLogger("cxrserve.pacs")
ASSOCIATE_RQ: Final = 0x01
_P_DATA_TF: Final = 0x04
_HEADER: Final = struct.Struct(">BxL")  # type, reserved, length: PS3.8 9.3.1
_UNKNOWN: Final = bytearray(b"\xff\0\0\0\0\0")
# PS3.8 sets no limit for A-ASSOCIATE-RQ; 128 contexts with 60 transfer syntaxes each stay below this.
_MOST_NEGOTIATION_BYTES: Final = 256 * 1024
_MOST_CONTEXTS: Final = 128  # their identifiers are the odd numbers of a byte: PS3.8 9.3.2.2
_CONTEXTS_START: Final = 68  # within the body of A-ASSOCIATE-RQ: PS3.8 Table 9-11
_PRESENTATION_CONTEXT: Final = 0x20
_MOST_COMMAND_BYTES: Final = 64 * 1024
_MOST_OTHER_BYTES: Final = 4 * 2**20  # of a data set that is no object: 10,000 references take 1.2 MB
_LONGEST_TURN_S: Final = 0.5  # so that pynetdicom looks at its timers now and then
# dcmtk writes header and body one by one, and with Nagle's algorithm waits for an acknowledgement between
# them, which Linux delays by 40 ms unless told otherwise after every read.
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_READ_BYTES: Final = 256 * 1024
_AWAITING_CLOSE: Final = "Sta13"  # PS3.8 Table 9-5
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 16 * 2**20
_TOLERANCE_BYTES: Final = 64  # some count the length without the headers within


@dataclass(frozen=True, kw_only=True, slots=True)
class WireLimits:
    """What one connection may cost.

    Attributes:
        most_pdu_bytes: longest P-DATA-TF, which is also what the negotiation tells the peer.
        most_object_bytes: longest data set of one C-STORE request.
        most_arriving_bytes: of all connections together.
        pdu_timeout_s: time for a PDU that has begun to be complete, and for the peer to take an answer.
    """

    most_pdu_bytes: int
    most_object_bytes: int
    most_arriving_bytes: int
    pdu_timeout_s: float


class PduReader:
    """Whole PDUs from a socket, within limits.

    Attributes:
        refused: why nothing more is read; None while all is well. No patient data.
        arrivals: the objects among what was read; pynetdicom sees their names only.
        within: True where the last PDU was the middle of an object, and nobody needs to see it.
    """

    def __init__(self, sock: socket.socket, limits: WireLimits, arrivals: Arrivals) -> None:
        self.refused: str | None = None
        self.arrivals: Final = arrivals
        self.within = False
        self._socket: Final = sock
        self._limits: Final = limits
        self._buffer: Final = memoryview(bytearray(_READ_BYTES))
        self._start = self._end = 0  # of what was read and not yet taken
        self._until = 0.0
        self._object_bytes = 0
        self._command_bytes = 0

    @property
    def has_more(self) -> bool:
        """True if something was read and not yet taken."""
        return self._start < self._end

    def read(self, timeout_s: float | None = None) -> tuple[bytearray, bytearray]:
        """The next PDU: its six bytes of header, and its body. No header where the connection ended.

        Raises:
            TimeoutError: it was not whole in time.
            OSError: the connection broke, or ended within a PDU.
        """
        try:
            header, body = self._next(timeout_s) if self.refused is None else (bytearray(), bytearray())
        except OSError:
            self.arrivals.close()
            raise
        if not header or self.refused:  # the end: pynetdicom does not always close its socket
            self.arrivals.close()
            self.within = False
        return (_UNKNOWN[:], bytearray()) if self.refused else (header, body)

    def _next(self, timeout_s: float | None) -> tuple[bytearray, bytearray]:
        self.within = False
        self._until = time.monotonic() + (self._limits.pdu_timeout_s if timeout_s is None else timeout_s)
        header = self._take(_HEADER.size)
        if len(header) < _HEADER.size:
            return bytearray(), bytearray()
        kind, length = _HEADER.unpack(header)
        if self._is_too_long(kind, length):
            return header, bytearray()
        if kind == _P_DATA_TF:
            body = self._fragments(length)
            return bytearray(_HEADER.pack(kind, len(body))), body
        body = self._whole(length)
        if kind == ASSOCIATE_RQ and _contexts(body) > _MOST_CONTEXTS:
            self.refused = f"the A-ASSOCIATE-RQ proposes more than {_MOST_CONTEXTS} presentation contexts"
        return header, body

    def _is_too_long(self, kind: int, length: int) -> bool:
        most = self._limits.most_pdu_bytes if kind == _P_DATA_TF else _MOST_NEGOTIATION_BYTES
        if not ASSOCIATE_RQ <= kind <= 0x07:
            self.refused = "the bytes are no PDU of the DICOM upper layer"
        elif length > most + _TOLERANCE_BYTES:
            self.refused = f"a PDU of type {kind} has {length} bytes; {most} are allowed"
        return self.refused is not None

    def _fragments(self, left: int) -> bytearray:
        """Read, check and count the fragments of a P-DATA-TF; what is left once objects were taken out."""
        seen = bytearray()
        self.within = self.arrivals.storing
        while left:
            length, context, control = PDV.unpack(self._whole(PDV.size)) if left >= PDV.size else (0, 0, 0)
            left -= 4 + length
            if length < 2 or left < 0:
                self.refused = "the fragments of a P-DATA-TF do not add up to its length"
                break
            self._count(length - 2, control)
            if self.refused:
                break
            self.within = self.within and not control & (COMMAND | LAST)
            if control & COMMAND:
                fragment = self._whole(length - 2)
                self.arrivals.command(fragment, context, control)
            elif self.arrivals.storing:
                fragment = self._store(length - 2, control)
            else:
                fragment = self._whole(length - 2)
            seen += PDV.pack(len(fragment) + 2, context, control) + fragment
        return seen

    def _store(self, count: int, control: int) -> bytearray:
        """Pass a fragment of an object on; its name, where it was the last one."""
        while count:
            piece = self._some(count)
            if not piece:
                raise ConnectionResetError("the peer went away within a PDU")
            started = time.monotonic()
            self.arrivals.write(piece)
            self._until += time.monotonic() - started  # what the disk takes is not the peer's time
            count -= len(piece)
        return bytearray(self.arrivals.finish() if control & LAST else b"")

    def _count(self, size: int, control: int) -> None:
        if control & COMMAND:
            self._command_bytes = self._command_bytes + size
            if self._command_bytes > _MOST_COMMAND_BYTES:
                self.refused = f"a command has more than {_MOST_COMMAND_BYTES} bytes"
            if control & LAST:
                self._command_bytes = self._object_bytes = 0
            return
        self._object_bytes += size
        most = self._limits.most_object_bytes if self.arrivals.storing else _MOST_OTHER_BYTES
        if self._object_bytes > most:
            self.refused = f"a data set has more than {most} bytes"

    def drain(self) -> None:
        """Throw away what still comes, for a moment: so that the peer may read why it was refused."""
        _log.warning("a connection was ended: %s", self.refused or "it was not let in")
        self._until, left = time.monotonic() + _LINGER_S, _LINGER_BYTES
        self._start = self._end = 0
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while left > 0 and (count := self._receive()):
                left -= count

    def _whole(self, count: int) -> bytearray:
        """The next `count` bytes."""
        taken = self._take(count)
        if len(taken) < count:
            raise ConnectionResetError("the peer went away within a PDU")
        return taken

    def _take(self, count: int) -> bytearray:
        """The next `count` bytes; fewer where the connection ended."""
        taken = bytearray()
        while len(taken) < count and (piece := self._some(count - len(taken))):
            taken += piece
        return taken

    def _some(self, most: int) -> memoryview:
        """Bytes that come next, valid until more are asked for; none where the connection ended."""
        if not self.has_more:
            self._start, self._end = 0, self._receive()
        start, self._start = self._start, min(self._end, self._start + most)
        return self._buffer[start : self._start]

    def _receive(self) -> int:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the peer was too slow")
        self._socket.settimeout(left_s)
        count = self._socket.recv_into(self._buffer)
        self._socket.settimeout(self._limits.pdu_timeout_s)  # for what is sent
        if _QUICK_ACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        return count


def _contexts(body: bytearray) -> int:
    """How many presentation contexts an A-ASSOCIATE-RQ proposes."""
    return sum(kind == _PRESENTATION_CONTEXT for kind in _items(body))


def _items(body: bytearray) -> Iterator[int]:
    position = _CONTEXTS_START
    while position + 4 <= len(body):
        kind, length = struct.unpack_from(">BxH", body, position)
        yield kind
        position += 4 + length


class Messages(DIMSEServiceProvider):
    """pynetdicom's reader of messages, which ends its thread, and not the association, on a broken one.

    Attributes:
        arrivals: the objects that its requests bring.
    """

    def __init__(self, association: Association, arrivals: Arrivals) -> None:
        super().__init__(association)
        self.arrivals: Final = arrivals

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of a message; end the association where they are none."""
        try:
            super().receive_primitive(primitive)
        except Exception as error:  # whatever pydicom and pynetdicom find in hostile bytes
            self.message = None
            if isinstance(self.dul.socket, Connection):
                self.dul.socket.refuse(f"a message cannot be read ({type(error).__name__})")
            self.dul.event_queue.put("Evt19")  # invalid PDU: PS3.8 Table 9-10, answered by A-ABORT


class Connection(AssociationSocket):
    """What pynetdicom reads from, once the first PDU is there.

    Args:
        first: the A-ASSOCIATE-RQ that the door has read already.
    """

    def __init__(
        self,
        association: Association,
        sock: socket.socket,
        reader: PduReader,
        first: tuple[bytearray, bytearray],
    ) -> None:
        super().__init__(association, client_socket=sock)
        self._reader: Final = reader
        self._readable: Final = select.poll()  # select() fails beyond 1,024 open files
        self._readable.register(sock, select.POLLIN)
        self._header: bytearray | None = first[0]
        self._body: bytearray | None = first[1]

    def refuse(self, reason: str) -> None:
        """Read nothing more: what came last was no DICOM message."""
        self._reader.refused = reason

    @property
    def ready(self) -> bool:
        """True if there is something to be read."""
        if self._header is not None:
            return True
        if self.socket is None or not self._is_connected:
            return False
        if self._reader.refused is not None:
            if self.assoc.dul.state_machine.current_state == _AWAITING_CLOSE:  # the A-ABORT is sent
                self._reader.drain()
            return False
        return self._more_waits()

    def _more_waits(self) -> bool:
        if self._reader.has_more:
            return True
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        return bool(self._readable.poll(0))

    def close(self) -> None:
        """End the connection, and let go of what has arrived and was not taken."""
        self._reader.arrivals.close()
        super().close()

    def recv(self, nr_bytes: int) -> bytearray:
        """The header, then the body of a PDU, as pynetdicom asks for them.

        Raises:
            OSError: the peer went away, or was too slow.
        """
        if self._body is not None and self._header is None:
            body, self._body = self._body, None
            return body
        if self._header is None:
            self._header, self._body = self._reader.read()
            until = time.monotonic() + _LONGEST_TURN_S
            while self._reader.within and self._more_waits() and time.monotonic() < until:
                self._header, self._body = self._reader.read()
        header, self._header = self._header, None
        if header == _UNKNOWN:  # pynetdicom asks for no body
            self._body = None
        return header
