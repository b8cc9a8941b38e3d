"""The DICOM upper layer by hand (PS3.8), for what no library would send."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import closing

from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

VERIFICATION = "1.2.840.10008.1.1"
ASSOCIATE_AC, ASSOCIATE_RJ, ABORT = 0x02, 0x03, 0x07


def connect(port: int, timeout_s: float = 20, source: str = "127.0.0.1") -> socket.socket:
    """A TCP connection to the node, from the address `source`, which is one of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout_s, (source, 0))


def item(kind: int, body: bytes) -> bytes:
    """A variable item or sub-item."""
    return struct.pack(">BxH", kind, len(body)) + body


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU; `length` may lie."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def context(identifier: int, sop_class: str, syntaxes: tuple[str, ...]) -> bytes:
    """A proposed presentation context."""
    offers = b"".join(item(0x40, each.encode()) for each in syntaxes)
    return item(0x20, struct.pack(">Bxxx", identifier) + item(0x30, sop_class.encode()) + offers)


def associate_rq(contexts: bytes, calling: str = "RAW", called: str = "CXRSERVE", version: int = 1) -> bytes:
    """An A-ASSOCIATE-RQ."""
    head = struct.pack(">Hxx16s16s32x", version, called.ljust(16).encode(), calling.ljust(16).encode())
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    return pdu(0x01, head + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user)


USUAL = context(1, VERIFICATION, (ExplicitVRLittleEndian,)) + context(
    3, DigitalXRayImageStorageForPresentation, (ExplicitVRLittleEndian,)
)


def p_data(identifier: int, control: int, data: bytes) -> bytes:
    """A P-DATA-TF with one fragment."""
    return pdu(0x04, struct.pack(">LBB", len(data) + 2, identifier, control) + data)


def command(**elements: tuple[int, bytes]) -> bytes:
    """A command set; each element as (its number in group 0000, value)."""
    body = b"".join(struct.pack("<HHL", 0, n, len(v)) + v for n, v in sorted(elements.values()))
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def store_rq(sop_class: str, sop_instance: str) -> bytes:
    """The command set of a C-STORE-RQ."""

    def uid(value: str) -> bytes:
        return value.encode() + b"\0" * (len(value) % 2)

    return command(
        affected_class=(0x0002, uid(sop_class)),
        field=(0x0100, struct.pack("<H", 0x0001)),
        message_id=(0x0110, struct.pack("<H", 1)),
        priority=(0x0700, struct.pack("<H", 0)),
        dataset=(0x0800, struct.pack("<H", 0x0001)),
        affected_instance=(0x1000, uid(sop_instance)),
    )


def answer(connection: socket.socket) -> tuple[int, bytes] | None:
    """The next PDU that the node sends; None where it has closed the connection."""
    try:
        header = _exactly(connection, 6)
        kind, length = struct.unpack(">BxL", header)
        return kind, _exactly(connection, length)
    except (ConnectionError, EOFError):
        return None


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def associated(
    port: int, contexts: bytes = USUAL, calling: str = "RAW", source: str = "127.0.0.1"
) -> socket.socket:
    """A connection with an accepted association."""
    connection = connect(port, source=source)
    connection.sendall(associate_rq(contexts, calling))
    found = answer(connection)
    assert found is not None
    assert found[0] == ASSOCIATE_AC
    return connection


def seconds_until_closed(connection: socket.socket, most_s: float = 30) -> float:
    """Seconds until the node closes a silent connection."""
    started = time.monotonic()
    connection.settimeout(most_s)
    with closing(connection):
        try:
            while connection.recv(4096):
                pass
        except ConnectionError:
            pass
    return time.monotonic() - started
