"""Messages between the service and its decode workers: a JSON header and raw bytes over a socket.

The worker reads hostile files and may be taken over by one, so nothing it sends is believed: no pickle, a
length for everything, and every value checked (`worker_response.py`).
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any, Final

_LENGTHS: Final = struct.Struct("<IQ")  # bytes of the header, bytes of the payload
_MAX_HEADER_BYTES: Final = 64 * 2**10


class WireError(Exception):
    """The other side sent something that is no message."""


class WireClosedError(WireError):
    """The other side is gone."""


def send(
    connection: socket.socket, header: dict[str, Any], *payload: Any, deadline: float | None = None
) -> None:
    """Send one message; `payload` are buffers, sent one after another without a copy.

    `deadline` is on the clock of `time.monotonic`.

    Raises:
        TimeoutError: the deadline passed.
        WireClosedError: the other side is gone.
    """
    encoded = json.dumps(header).encode()
    views = [memoryview(buffer).cast("B") for buffer in payload]
    start = _LENGTHS.pack(len(encoded), sum(map(len, views))) + encoded
    try:
        for view in (memoryview(start), *views):
            _set_timeout(connection, deadline)
            connection.sendall(view)
    except TimeoutError:
        raise
    except OSError as exc:
        raise WireClosedError from exc


def receive(
    connection: socket.socket, *, most_payload_bytes: int, deadline: float | None = None
) -> tuple[dict[str, Any], bytearray]:
    """One message: its header and its payload.

    Raises:
        TimeoutError: the deadline passed.
        WireClosedError: the other side is gone.
        WireError: longer than agreed, or no JSON object.
    """
    header_bytes, payload_bytes = _LENGTHS.unpack(_receive_exactly(connection, _LENGTHS.size, deadline))
    if header_bytes > _MAX_HEADER_BYTES or payload_bytes > most_payload_bytes:
        raise WireError(
            f"a message of {header_bytes} + {payload_bytes} bytes; at most {most_payload_bytes} agreed"
        )
    try:
        header = json.loads(_receive_exactly(connection, header_bytes, deadline))
    except ValueError as exc:
        raise WireError("the message's header is no JSON") from exc
    if not isinstance(header, dict):
        raise WireError("the message's header is no JSON object")
    return header, _receive_exactly(connection, payload_bytes, deadline)


def _receive_exactly(connection: socket.socket, count: int, deadline: float | None) -> bytearray:
    buffer = bytearray(count)
    view, filled = memoryview(buffer), 0
    while filled < count:
        _set_timeout(connection, deadline)
        try:
            received = connection.recv_into(view[filled:])
        except TimeoutError:
            raise
        except OSError as exc:
            raise WireClosedError from exc
        if received == 0:
            raise WireClosedError
        filled += received
    return buffer


def _set_timeout(connection: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        connection.settimeout(None)
        return
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(left_s)
