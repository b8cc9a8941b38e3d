"""The sink that sends syslog messages (RFC 5424) over TLS (RFC 5425), as DICOM PS3.15 A.6 asks."""

from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import threading
from typing import Final

from cxrserve.audit.dicom_message import message
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.spool import Spool

_PRIORITY: Final = 10 * 8 + 5  # facility: security/authorisation; severity: notice
_TIMEOUT_S: Final = 10.0
_PAUSES_S: Final = (1.0, 5.0, 30.0)
_DRAIN_S: Final = 5.0
_log: Final = logging.getLogger("cxrserve.audit")


class SyslogTls:
    """Spools each event and sends the spool from a thread of its own, in order.

    RFC 5425 has no acknowledgement: a message counts as taken once it is written to a connection that the
    server has not closed. A message may therefore come twice, and what the kernel held when a server died is
    lost.

    Args:
        node: the name of this node in the messages.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext, spool: Spool, *, node: str) -> None:
        self._host: Final = host
        self._port: Final = port
        self._context: Final = context
        self._spool: Final = spool
        self._node: Final = node
        self._connection: ssl.SSLSocket | None = None
        self._wake: Final = threading.Event()
        self._closing: Final = threading.Event()
        self._failures = 0
        self._thread: Final = threading.Thread(target=self._run, name="audit-syslog", daemon=True)
        self._thread.start()

    def write(self, event: AuditEvent) -> None:
        """Spool one event.

        Raises:
            OSError: the spool cannot be written.
        """
        self._spool.add(syslog_message(event, node=self._node))
        self._wake.set()

    def close(self) -> None:
        """Send what is spooled, for a few seconds at most; the rest is sent at the next start."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_DRAIN_S)

    def _run(self) -> None:
        self._wake.set()  # what an earlier process left
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            while not self._send_all():
                pause_s = _PAUSES_S[min(self._failures, len(_PAUSES_S)) - 1]
                if self._closing.wait(pause_s) and closing:
                    return
                closing = self._closing.is_set()
            if closing:
                self._disconnect()
                return

    def _send_all(self) -> bool:
        """Send every spooled message; False if the server does not take them now."""
        try:
            for path in self._spool.waiting():
                content = path.read_bytes()
                self._connected().sendall(b"%d %s" % (len(content), content))
                path.unlink()
        except OSError as error:
            self._disconnect()
            self._failures += 1
            if self._failures == 1 or self._failures % 100 == 0:
                _log.error(
                    "the audit server %s:%d takes no messages (%s); they wait in the spool",
                    self._host,
                    self._port,
                    type(error).__name__,
                )
            return False
        self._failures = 0
        return True

    def _connected(self) -> ssl.SSLSocket:
        """An open connection; a connection that the server has closed is replaced."""
        if self._connection is not None and _is_closed(self._connection):
            self._disconnect()
        if self._connection is None:
            plain = socket.create_connection((self._host, self._port), _TIMEOUT_S)
            try:
                self._connection = self._context.wrap_socket(plain, server_hostname=self._host)
            except BaseException:
                plain.close()
                raise
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _is_closed(connection: ssl.SSLSocket) -> bool:
    """True if the server has closed: it never sends anything else."""
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable:
        return False
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except (ssl.SSLWantReadError, BlockingIOError):
        return False  # a message of TLS itself, such as a session ticket
    except OSError:
        return True
    finally:
        connection.settimeout(_TIMEOUT_S)


def syslog_message(event: AuditEvent, *, node: str) -> bytes:
    """The syslog message of an event (RFC 5424), with the XML message after a byte order mark."""
    host = socket.gethostname()[:255] or "-"
    process = str(os.getpid())
    when = event.time.isoformat(timespec="milliseconds")
    head = f"<{_PRIORITY}>1 {when} {host} cxrserve {process} DICOM+RFC3881 - "
    return head.encode("ascii", "replace") + b"\xef\xbb\xbf" + message(event, source=node, process=process)
