"""The door of the node: connections wait here, cheaply, until they have said what they want.

pynetdicom gives every connection two threads that wake a thousand times a second, does the TLS handshake in
the thread that accepts, and sets no time for it. So a connection first has its handshake and its
A-ASSOCIATE-RQ to bring, in a thread that sleeps; only then it is given to pynetdicom. Where the waiting room
is full, the one that has been silent longest is put out: a peer that speaks at once always gets in.
"""

from __future__ import annotations

import gc
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socketserver import BaseServer
from typing import Any, Final, cast

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from cxrserve.archive.incoming import Incoming
from cxrserve.pacs.arrivals import Allowance, Announced, Arrivals
from cxrserve.pacs.connection import ASSOCIATE_RQ, Connection, Messages, PduReader, WireLimits

_log: Final = logging.getLogger("cxrserve.pacs")
_WAITING_ROOM: Final = 64
_BACKLOG: Final = 256
_COLLECT_AFTER: Final = 32  # connections: an association that has ended is part of a circle
# A-ASSOCIATE-RJ: transient, by the service provider (presentation), local limit exceeded. PS3.8 9.3.4
_REJECT_FULL: Final = bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 2))
# A-ABORT: by the service provider, unrecognised or unexpected PDU. PS3.8 9.3.8
_ABORT: Final = bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, 1))


class _Entrance(RequestHandler):
    """Turns a connection that has brought its A-ASSOCIATE-RQ into an association."""

    server: Door

    def _create_association(self) -> Association:
        association = super()._create_association()
        # The socket that pynetdicom has put in its place gives way to ours, with the event it has raised.
        association.dul.socket = None
        association.dul.event_queue.get_nowait()
        connection = cast(socket.socket, self.request)
        reader, first = self.server.brought_by(connection)
        reader.arrivals.begin = partial(self.server.begin, association)
        association.set_socket(Connection(association, connection, reader, first))
        association.dimse = Messages(association, reader.arrivals)
        association.dul.artim_timer.timeout = self.server.patience_s
        return association


class Door(ThreadedAssociationServer):
    """The listening socket.

    Args:
        most_associations: that may be open at once.
        patience_s: time for the handshake and the A-ASSOCIATE-RQ together: PS3.8's ARTIM timer.
        begin: makes the file for an object that an association announces.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = _BACKLOG

    def __init__(
        self,
        entity: ApplicationEntity,
        address: tuple[str, int],
        handlers: list[evt.EventHandlerType],
        *,
        tls: ssl.SSLContext | None,
        limits: WireLimits,
        most_associations: int,
        patience_s: float,
        begin: Callable[[Association, Announced], Incoming],
    ) -> None:
        self.patience_s: Final = patience_s
        self.begin: Final = begin
        self._tls: Final = tls
        self._limits: Final = limits
        self._allowance: Final = Allowance(limits.most_arriving_bytes)
        self._most_associations: Final = most_associations
        self._lock: Final = threading.Lock()
        self._came = 0
        self._closing: Final = threading.Lock()
        self._closed = False
        self._waiting: Final[dict[Any, socket.socket]] = {}  # by address, the longest waiting first
        self._brought: Final[dict[socket.socket, tuple[PduReader, tuple[bytearray, bytearray]]]] = {}
        super().__init__(
            entity,
            address,
            entity.ae_title,
            entity.supported_contexts,
            evt_handlers=handlers,
            request_handler=cast("Callable[..., Any]", _Entrance),
        )

    @property
    def port(self) -> int:
        """The true one, where a free one was asked for."""
        return int(self.server_address[1])

    def shutdown(self) -> None:
        """Close the port. Idempotent: a second signal may come while the first is being heeded.

        pynetdicom's own also takes the server off a list that only `ApplicationEntity.start_server` writes.
        """
        with self._closing:
            if not self._closed:
                BaseServer.shutdown(self)
                self.server_close()
                self._closed = True

    def service_actions(self) -> None:
        """Collect garbage after some connections. pynetdicom does every six seconds, whether any came or not.

        Nothing else runs meanwhile: with a model loaded that is a tenth of a second.
        """
        if self._came >= _COLLECT_AFTER:
            self._came = 0
            gc.collect()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and nothing else."""
        self._came += 1
        return cast(socket.socket, self.socket).accept()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Let a connection wait; put the longest waiting one out where there is no room."""
        with self._lock:
            self._waiting[client_address] = request
            longest = next(iter(self._waiting)) if len(self._waiting) > _WAITING_ROOM else None
            put_out = None if longest is None else self._waiting.pop(longest)
        if put_out is not None:
            _end(put_out)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See one connection through the door, in its own thread."""
        connection: socket.socket = request
        try:
            connection = self._with_tls(request, client_address)
            reader = PduReader(connection, self._limits, Arrivals(self._allowance))
            first = reader.read(self.patience_s)
            if reader.refused or not first[0] or first[0][0] != ASSOCIATE_RQ:
                _tell(connection, _ABORT if first[0] else b"", reader)
                return
            self._let_in(connection, client_address, reader, first)
        except OSError:  # too slow, gone, or no TLS
            _hang_up(connection)
        finally:
            with self._lock:
                self._waiting.pop(client_address, None)

    def brought_by(self, connection: socket.socket) -> tuple[PduReader, tuple[bytearray, bytearray]]:
        """The reader of `connection` and the A-ASSOCIATE-RQ it has read; once."""
        return self._brought.pop(connection)

    def _with_tls(self, request: socket.socket, address: Any) -> socket.socket:
        request.settimeout(self.patience_s)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return request
        connection = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            if address in self._waiting:
                self._waiting[address] = connection
        try:
            connection.do_handshake()
            return connection
        except ssl.SSLError as error:
            _log.warning("a TLS handshake failed: %s", error.reason or "refused")
            raise

    def _let_in(
        self,
        connection: socket.socket,
        address: Any,
        reader: PduReader,
        first: tuple[bytearray, bytearray],
    ) -> None:
        with self._lock:
            full = len(self.active_associations) >= self._most_associations
            if not full:
                self._brought[connection] = reader, first
                self.finish_request(connection, address)
        if full:
            _log.warning("an association was rejected: %s are open", self._most_associations)
            _tell(connection, _REJECT_FULL, reader)


def _tell(connection: socket.socket, pdu: bytes, reader: PduReader) -> None:
    """Send a last PDU and end the connection, so that the peer can read it."""
    with suppress(OSError):
        if pdu:
            connection.sendall(pdu)
            reader.drain()
    _hang_up(connection)


def _hang_up(connection: socket.socket) -> None:
    _end(connection)
    connection.close()


def _end(connection: socket.socket) -> None:
    """Wake whoever waits for `connection`; closing it is for them."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
