"""The association server of the node: accepts connections, and starts associations with pynetdicom.

pynetdicom starts two threads for every connection, which wake a thousand times a second. It does the TLS
handshake in the accepting thread, without a time limit. Here a connection first completes its handshake and
sends its A-ASSOCIATE-RQ, in a thread that sleeps; only then pynetdicom gets it. At most `_MAX_PENDING`
connections may be in this state. When there are more, the oldest one of the address that has the most is
closed, so a peer that sends its request at once always gets in.

One address can hold only a share of the associations and of the receive budget. When all places are taken,
the association that has been idle for the longest time is aborted, if that is long enough.
"""

from __future__ import annotations

import gc
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socketserver import BaseServer
from typing import Any, Final, cast

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.fsm import InvalidEventError
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.pacs.connection import ASSOCIATE_RQ, Connection, DimseProvider, PduReader, WireLimits
from cxrserve.pacs.incoming_datasets import ByteBudgets, CStoreCommand, IncomingDatasets
from cxrserve.server_tls import ServerTls

_log: Final = logging.getLogger("cxrserve.pacs")
_MAX_PENDING: Final = 64
_BACKLOG: Final = 256
_COLLECT_AFTER: Final = 32  # connections: an association that has ended is part of a reference cycle
_MAX_IDLE_S: Final = 10.0  # without a byte; then an association may lose its place to another peer
# A-ASSOCIATE-RJ: transient, by the service provider (presentation), local limit exceeded. PS3.8 9.3.4
_REJECT_FULL: Final = bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 2))
# A-ABORT: by the service provider, unrecognised or unexpected PDU. PS3.8 9.3.8
_ABORT: Final = bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, 1))


class _RequestHandler(RequestHandler):
    """Turns a connection that has sent its A-ASSOCIATE-RQ into an association."""

    server: AssociationServer

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.socket = None  # ours replaces the one that pynetdicom has set
        connection = cast(socket.socket, self.request)
        reader, first = self.server.take_request(connection)
        reader.incoming.begin = partial(self.server.begin, association)
        association.set_socket(
            Connection(
                association, connection, reader, first, self.client_address[0], self.server.send_timeout_s
            )
        )
        association.dimse = DimseProvider(association, reader.incoming)
        association.dul.artim_timer.timeout = self.server.accept_timeout_s
        machine = association.dul.state_machine
        machine.do_action = partial(_do_action, association, machine.do_action)  # type: ignore[method-assign]
        return association


def _do_action(association: Association, do_action: Callable[[str], None], event: str) -> None:
    """Let the state machine act; an event that it cannot take ends the association, without a traceback."""
    try:
        do_action(event)
    except InvalidEventError as error:  # for instance, the peer has left while it was being answered
        _log.warning("association ended: %s", error)
        if association.dul.socket is not None:
            association.dul.socket.close()
        association.dul.kill_dul()


class AssociationServer(ThreadedAssociationServer):
    """The listening socket.

    Args:
        max_associations: open at the same time.
        max_per_address: of these, from one address.
        accept_timeout_s: time for the handshake and the A-ASSOCIATE-RQ together: PS3.8's ARTIM timer.
        on_rejected: counts a connection that never became an association, by reason; the address is "" where
            the peer went away by itself.
        begin: opens the file for a C-STORE request of an association.
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
        tls: ServerTls | None,
        limits: WireLimits,
        max_associations: int,
        max_per_address: int,
        accept_timeout_s: float,
        on_rejected: Callable[[str, str], None],
        begin: Callable[[Association, CStoreCommand], IncomingFile],
    ) -> None:
        self.accept_timeout_s: Final = accept_timeout_s
        self.send_timeout_s: Final = limits.pdu_timeout_s
        self.begin: Final = begin
        self._on_rejected: Final = on_rejected
        self._tls: Final = tls
        self._limits: Final = limits
        self._budgets: Final = ByteBudgets(
            limits.max_incoming_bytes, max(limits.max_incoming_bytes // 2, limits.max_object_bytes)
        )
        self._max_associations: Final = max_associations
        self._max_per_address: Final = max_per_address
        self._lock: Final = threading.Lock()
        self._accepted = 0
        self._closing: Final = threading.Lock()
        self._closed = False
        self._pending: Final[dict[Any, socket.socket]] = {}  # by address, the oldest first
        self._requests: Final[dict[socket.socket, tuple[PduReader, tuple[bytearray, bytearray]]]] = {}
        super().__init__(
            entity,
            address,
            entity.ae_title,
            entity.supported_contexts,
            evt_handlers=handlers,
            request_handler=cast("Callable[..., Any]", _RequestHandler),
        )

    @property
    def port(self) -> int:
        """The TCP port, also where 0 was requested."""
        return int(self.server_address[1])

    def shutdown(self) -> None:
        """Close the port. Idempotent: a second signal may arrive while the first is handled.

        pynetdicom's own also takes the server off a list that only `ApplicationEntity.start_server` writes.
        """
        with self._closing:
            if not self._closed:
                BaseServer.shutdown(self)
                self.server_close()
                self._closed = True

    def service_actions(self) -> None:
        """Collect garbage after some connections. pynetdicom does so every six seconds, even when idle.

        A collection stops all threads: with a model loaded for a tenth of a second.
        """
        if self._accepted >= _COLLECT_AFTER:
            self._accepted = 0
            gc.collect()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and nothing else."""
        self._accepted += 1
        return cast(socket.socket, self.socket).accept()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Add a pending connection; where there are too many, close the oldest of the busiest address."""
        with self._lock:
            self._pending[client_address] = request
            dropped = self._pending.pop(self._oldest()) if len(self._pending) > _MAX_PENDING else None
        if dropped is not None:
            _shut_down(dropped)
        super().process_request(request, client_address)

    def _oldest(self) -> Any:
        """The oldest pending connection of the address that has the most."""
        ((busiest, _),) = Counter(address[0] for address in self._pending).most_common(1)
        return next(address for address in self._pending if address[0] == busiest)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """TLS handshake and A-ASSOCIATE-RQ of one connection, in its own thread."""
        connection: socket.socket = request
        try:
            connection = self._with_tls(request, client_address)
            reader = PduReader(
                connection, self._limits, IncomingDatasets(self._budgets.of(client_address[0]))
            )
            first = reader.read(self.accept_timeout_s)
            if reader.refused or not first[0] or first[0][0] != ASSOCIATE_RQ:
                self._on_rejected("no-association-request", "")
                _send_and_close(connection, _ABORT if first[0] else b"", reader)
                return
            self._start_association(connection, client_address, reader, first)
        except OSError:  # a timeout, a lost connection, or no TLS
            _close(connection)
        finally:
            with self._lock:
                self._pending.pop(client_address, None)

    def take_request(self, connection: socket.socket) -> tuple[PduReader, tuple[bytearray, bytearray]]:
        """The reader of `connection` and the A-ASSOCIATE-RQ it has read. Removes them."""
        return self._requests.pop(connection)

    def _with_tls(self, request: socket.socket, address: Any) -> socket.socket:
        request.settimeout(self.accept_timeout_s)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return request
        connection = self._tls.current().wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            if address in self._pending:
                self._pending[address] = connection
        try:
            connection.do_handshake()
            return connection
        except ssl.SSLError as error:
            self._on_rejected("tls", "" if isinstance(error, ssl.SSLEOFError) else str(address[0]))
            _log.warning(
                "TLS handshake with %s failed: %s. Check certificates, and that both sides use TLS.",
                address[0], error.reason or "refused",
            )  # fmt: skip
            raise

    def _start_association(
        self,
        connection: socket.socket,
        address: Any,
        reader: PduReader,
        first: tuple[bytearray, bytearray],
    ) -> None:
        with self._lock:
            reason = self._no_place(address[0])
            if reason is None:
                self._requests[connection] = reader, first
                self.finish_request(connection, address)
        if reason is not None:
            self._on_rejected(reason, str(address[0]))
            _log.warning("association from %s rejected: %s", address[0], self._remedy(reason))
            _send_and_close(connection, _REJECT_FULL, reader)

    def _no_place(self, address: str) -> str | None:
        """The reason why a peer at `address` gets no association; None where it has a place."""
        connections = [
            (association, association.dul.socket)
            for association in self.active_associations
            if isinstance(association.dul.socket, Connection) and not association.dul.socket.is_refused
        ]
        if sum(connection.address == address for _, connection in connections) >= self._max_per_address:
            return "too-many-associations-of-address"
        if len(connections) < self._max_associations:
            return None
        association, connection = max(connections, key=lambda pair: pair[1].idle_s)
        if connection.idle_s < _MAX_IDLE_S:
            return "too-many-associations"
        connection.refuse("another peer needs the place of an idle association")
        association.dul.event_queue.put("Evt19")  # invalid PDU: PS3.8 Table 9-10, answered by A-ABORT
        return None

    def _remedy(self, reason: str) -> str:
        if reason == "too-many-associations":
            return f"{self._max_associations} are open. Raise CXRSERVE_DICOM_MAX_ASSOCIATIONS."
        return (
            f"it has {self._max_per_address} open. Raise CXRSERVE_DICOM_MAX_ASSOCIATIONS_PER_ADDRESS if many "
            "peers share this address."
        )


def _send_and_close(connection: socket.socket, pdu: bytes, reader: PduReader) -> None:
    """Send a last PDU and close the connection, so that the peer can still read it."""
    with suppress(OSError):
        if pdu:
            connection.sendall(pdu)
            reader.drain()
    _close(connection)


def _close(connection: socket.socket) -> None:
    _shut_down(connection)
    connection.close()


def _shut_down(connection: socket.socket) -> None:
    """Wake the thread that waits for `connection`; that thread closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
