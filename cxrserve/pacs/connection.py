"""The socket of one association, with limits on length, size and time of every PDU.

pynetdicom reads as many bytes as a PDU claims to have, up to 4 GB, and waits for them without a time limit.
Here a PDU is read completely and checked before pynetdicom sees it. A PDU that breaks a limit reaches its
state machine as one of unknown type, which it answers as PS3.8 9.2 requires: with an A-ABORT, after which it
closes the connection.
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

from cxrserve.pacs.incoming_datasets import COMMAND, LAST, PDV, IncomingDatasets

_log: Final = logging.getLogger("cxrserve.pacs")
ASSOCIATE_RQ: Final = 0x01
_P_DATA_TF: Final = 0x04
_HEADER: Final = struct.Struct(">BxL")  # type, reserved, length: PS3.8 9.3.1
_UNKNOWN: Final = bytearray(b"\xff\0\0\0\0\0")
# PS3.8 sets no limit for A-ASSOCIATE-RQ; 128 contexts with 60 transfer syntaxes each stay below this.
_MAX_NEGOTIATION_BYTES: Final = 256 * 1024
_MAX_CONTEXTS: Final = 128  # their identifiers are the odd numbers of a byte: PS3.8 9.3.2.2
_CONTEXTS_START: Final = 68  # within the body of A-ASSOCIATE-RQ: PS3.8 Table 9-11
_PRESENTATION_CONTEXT: Final = 0x20
_MAX_COMMAND_BYTES: Final = 64 * 1024
_MAX_OTHER_BYTES: Final = 4 * 2**20  # of a data set of another service: 10,000 references take 1.2 MB
_MIN_BYTES_PER_S: Final = 32 * 1024  # that a peer must take of what is sent, after the timeout
_MAX_TURN_S: Final = 0.5  # then pynetdicom checks its timers
# dcmtk writes header and body one by one, and with Nagle's algorithm waits for an acknowledgement between
# them, which Linux delays by 40 ms unless TCP_QUICKACK is set after every read.
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_READ_BYTES: Final = 256 * 1024
_AWAITING_CLOSE: Final = "Sta13"  # PS3.8 Table 9-5
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 16 * 2**20
_TOLERANCE_BYTES: Final = 64  # some peers count the length without the headers inside


@dataclass(frozen=True, kw_only=True, slots=True)
class WireLimits:
    """Limits for one connection.

    Attributes:
        max_pdu_bytes: longest P-DATA-TF; also the maximum length that the negotiation states.
        max_object_bytes: longest data set of one C-STORE request.
        max_incoming_bytes: of the unfinished objects of all connections together.
        pdu_timeout_s: time for a PDU to arrive completely, and for the peer to accept an answer.
    """

    max_pdu_bytes: int
    max_object_bytes: int
    max_incoming_bytes: int
    pdu_timeout_s: float


class PduReader:
    """Whole PDUs from a socket, within limits.

    Attributes:
        refused: the reason why nothing more is read; None while nothing is wrong. No patient data.
        incoming: the received objects; pynetdicom gets only their handles.
        received: when the last bytes came, on the monotonic clock.
        mid_object: True where the last PDU held only the middle of an object, so pynetdicom can skip it.
    """

    def __init__(self, sock: socket.socket, limits: WireLimits, incoming: IncomingDatasets) -> None:
        self.refused: str | None = None
        self.incoming: Final = incoming
        self.mid_object = False
        self._socket: Final = sock
        self._limits: Final = limits
        self._buffer: Final = memoryview(bytearray(_READ_BYTES))
        self._start = self._end = 0  # of the bytes that were received and not yet taken
        self._until = 0.0
        self.received = time.monotonic()
        self._object_bytes = 0
        self._command_bytes = 0

    @property
    def has_more(self) -> bool:
        """True while received bytes were not yet taken."""
        return self._start < self._end

    def read(self, timeout_s: float | None = None) -> tuple[bytearray, bytearray]:
        """The next PDU: its six bytes of header, and its body. No header where the connection ended.

        Raises:
            TimeoutError: it was not complete in time.
            OSError: the connection broke, or ended within a PDU.
        """
        try:
            header, body = self._next(timeout_s) if self.refused is None else (bytearray(), bytearray())
        except OSError:
            self.incoming.close()
            raise
        if not header or self.refused:  # pynetdicom does not always close its socket
            self.incoming.close()
            self.mid_object = False
        return (_UNKNOWN[:], bytearray()) if self.refused else (header, body)

    def _next(self, timeout_s: float | None) -> tuple[bytearray, bytearray]:
        self.mid_object = False
        self._until = time.monotonic() + (self._limits.pdu_timeout_s if timeout_s is None else timeout_s)
        header = self._read_up_to(_HEADER.size)
        if len(header) < _HEADER.size:
            return bytearray(), bytearray()
        kind, length = _HEADER.unpack(header)
        if self._is_too_long(kind, length):
            return header, bytearray()
        if kind == _P_DATA_TF:
            body = self._fragments(length)
            return bytearray(_HEADER.pack(kind, len(body))), body
        body = self._read_exactly(length)
        if kind == ASSOCIATE_RQ and _contexts(body) > _MAX_CONTEXTS:
            self.refused = f"the A-ASSOCIATE-RQ proposes more than {_MAX_CONTEXTS} presentation contexts"
        return header, body

    def _is_too_long(self, kind: int, length: int) -> bool:
        max_bytes = self._limits.max_pdu_bytes if kind == _P_DATA_TF else _MAX_NEGOTIATION_BYTES
        if not ASSOCIATE_RQ <= kind <= 0x07:
            self.refused = "the bytes are not a PDU of the DICOM upper layer"
        elif length > max_bytes + _TOLERANCE_BYTES:
            self.refused = f"a PDU of type {kind} has {length} bytes; {max_bytes} are allowed"
        return self.refused is not None

    def _fragments(self, remaining: int) -> bytearray:
        """Read, check and count the fragments of a P-DATA-TF. Objects become handles."""
        fragments = bytearray()
        self.mid_object = self.incoming.storing
        while remaining:
            length, context, control = (
                PDV.unpack(self._read_exactly(PDV.size)) if remaining >= PDV.size else (0, 0, 0)
            )
            remaining -= 4 + length
            if length < 2 or remaining < 0:
                self.refused = "the fragments of a P-DATA-TF do not add up to its length"
                break
            self._count(length - 2, control)
            if self.refused:
                break
            self.mid_object = self.mid_object and not control & (COMMAND | LAST)
            if control & COMMAND:
                fragment = self._read_exactly(length - 2)
                self.incoming.command(fragment, context, control)
            elif self.incoming.storing:
                fragment = self._store(length - 2, control)
            else:
                fragment = self._read_exactly(length - 2)
            fragments += PDV.pack(len(fragment) + 2, context, control) + fragment
        return fragments

    def _store(self, count: int, control: int) -> bytearray:
        """Write a fragment of an object. Returns its handle after the last fragment."""
        while count:
            piece = self._read_some(count)
            if not piece:
                raise ConnectionResetError("the peer closed the connection within a PDU")
            started = time.monotonic()
            self.incoming.write(piece)
            self._until += time.monotonic() - started  # the time of the disk does not count against the peer
            count -= len(piece)
        return bytearray(self.incoming.finish() if control & LAST else b"")

    def _count(self, size: int, control: int) -> None:
        if control & COMMAND:
            self._command_bytes = self._command_bytes + size
            if self._command_bytes > _MAX_COMMAND_BYTES:
                self.refused = f"a command has more than {_MAX_COMMAND_BYTES} bytes"
            if control & LAST:
                self._command_bytes = self._object_bytes = 0
            return
        self._object_bytes += size
        max_bytes = self._limits.max_object_bytes if self.incoming.storing else _MAX_OTHER_BYTES
        if self._object_bytes > max_bytes:
            self.refused = f"a data set has more than {max_bytes} bytes"

    def drain(self) -> None:
        """Discard further bytes for a moment, so that the peer can read the last PDU."""
        _log.warning("connection closed: %s", self.refused or "the association was rejected")
        self._until, remaining = time.monotonic() + _LINGER_S, _LINGER_BYTES
        self._start = self._end = 0
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while remaining > 0 and (count := self._receive()):
                remaining -= count

    def _read_exactly(self, count: int) -> bytearray:
        """The next `count` bytes."""
        data = self._read_up_to(count)
        if len(data) < count:
            raise ConnectionResetError("the peer closed the connection within a PDU")
        return data

    def _read_up_to(self, count: int) -> bytearray:
        """The next `count` bytes; fewer where the connection ended."""
        data = bytearray()
        while len(data) < count and (piece := self._read_some(count - len(data))):
            data += piece
        return data

    def _read_some(self, max_bytes: int) -> memoryview:
        """The next bytes, valid until the next call; none where the connection ended."""
        if not self.has_more:
            self._start, self._end = 0, self._receive()
        start, self._start = self._start, min(self._end, self._start + max_bytes)
        return self._buffer[start : self._start]

    def _receive(self) -> int:
        remaining_s = self._until - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("the peer was too slow")
        self._socket.settimeout(remaining_s)
        count = self._socket.recv_into(self._buffer)
        self.received = time.monotonic()
        self._socket.settimeout(self._limits.pdu_timeout_s)  # for what is sent
        if _QUICK_ACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        return count


def _contexts(body: bytearray) -> int:
    """The number of presentation contexts in an A-ASSOCIATE-RQ."""
    return sum(kind == _PRESENTATION_CONTEXT for kind in _items(body))


def _items(body: bytearray) -> Iterator[int]:
    position = _CONTEXTS_START
    while position + 4 <= len(body):
        kind, length = struct.unpack_from(">BxH", body, position)
        yield kind
        position += 4 + length


class DimseProvider(DIMSEServiceProvider):
    """pynetdicom's DIMSE provider, which aborts the association when a message is broken.

    pynetdicom's own lets the exception end its thread, while the association stays open.

    Attributes:
        incoming: the objects of its C-STORE requests.
    """

    def __init__(self, association: Association, incoming: IncomingDatasets) -> None:
        super().__init__(association)
        self.incoming: Final = incoming

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Add the fragments of a message; abort the association where they are no DIMSE message."""
        try:
            super().receive_primitive(primitive)
        except Exception as error:  # anything that pydicom and pynetdicom raise for hostile bytes
            self.message = None
            if isinstance(self.dul.socket, Connection):
                self.dul.socket.refuse(f"a message cannot be read ({type(error).__name__})")
            self.dul.event_queue.put("Evt19")  # invalid PDU: PS3.8 Table 9-10, answered by A-ABORT


class Connection(AssociationSocket):
    """The socket that pynetdicom reads from and writes to, after the connection is made.

    Args:
        first: the A-ASSOCIATE-RQ, which the association server has read; None where this side requests.
        send_timeout_s: time that the peer may take for what is sent to it, at the least rate.

    Attributes:
        address: of the peer.
    """

    def __init__(
        self,
        association: Association,
        sock: socket.socket,
        reader: PduReader,
        first: tuple[bytearray, bytearray] | None,
        address: str,
        send_timeout_s: float,
    ) -> None:
        super().__init__(association, client_socket=sock)
        # pynetdicom's event of a new connection: it has had one for the socket that this one replaces.
        association.dul.event_queue.get_nowait()
        self.address: Final = address
        self._allowed_s = self._send_timeout_s = send_timeout_s
        self._reader: Final = reader
        self._readable: Final = select.poll()  # select() fails beyond 1,024 open files
        self._readable.register(sock, select.POLLIN)
        self._header: bytearray | None = None if first is None else first[0]
        self._body: bytearray | None = None if first is None else first[1]

    def refuse(self, reason: str) -> None:
        """Read nothing more, for this reason."""
        self._reader.refused = reason

    @property
    def is_refused(self) -> bool:
        """True where nothing more is read: the association is about to end."""
        return self._reader.refused is not None

    @property
    def idle_s(self) -> float:
        """Seconds since the peer sent its last byte; 0 while an object is received or stored."""
        return 0.0 if self._reader.incoming.busy else time.monotonic() - self._reader.received

    @property
    def ready(self) -> bool:
        """True if there are bytes to read."""
        if self._header is not None:
            return True
        if self.socket is None or not self._is_connected:
            return False
        if self._reader.refused is not None:
            if self.assoc.dul.state_machine.current_state == _AWAITING_CLOSE:  # the A-ABORT is sent
                self._reader.drain()
            return False
        return self._can_read()

    def _can_read(self) -> bool:
        if self._reader.has_more:
            return True
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        return bool(self._readable.poll(0))

    def send(self, bytestream: bytes) -> None:
        """Send a PDU; the association ends where the peer takes the bytes too slowly."""
        left = memoryview(bytestream)
        # Time that was not used does not add up: buffers between take megabytes of a peer that reads nothing.
        self._allowed_s = min(self._allowed_s, self._send_timeout_s) + len(left) / _MIN_BYTES_PER_S
        try:
            while left and self.socket is not None:
                started = time.monotonic()
                self.socket.settimeout(max(0.001, self._allowed_s))
                left = left[self.socket.send(left) :]
                self._allowed_s -= time.monotonic() - started
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # the connection is closed: PS3.8 Table 9-10

    def close(self) -> None:
        """Close the connection, and discard received objects that were not taken."""
        self._reader.incoming.close()
        connection = self.socket
        super().close()
        if connection is not None:  # pynetdicom leaves it open where the peer has closed it first
            connection.close()

    def recv(self, nr_bytes: int) -> bytearray:
        """The header, then the body of a PDU, in the order in which pynetdicom reads them.

        Raises:
            OSError: the peer closed the connection, or was too slow.
        """
        if self._body is not None and self._header is None:
            body, self._body = self._body, None
            return body
        if self._header is None:
            self._header, self._body = self._reader.read()
            until = time.monotonic() + _MAX_TURN_S
            while self._reader.mid_object and self._can_read() and time.monotonic() < until:
                self._header, self._body = self._reader.read()
        header, self._header = self._header, None
        if header == _UNKNOWN:  # pynetdicom reads no body of it
            self._body = None
        return header
