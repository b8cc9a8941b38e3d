"""The process-wide audit trail and its sinks. Any layer records an event with `record`, as it would log.

Until `open_trail`, and without the setting `audit`, events are discarded.
"""

from __future__ import annotations

import logging
import queue
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from cxrserve.audit.event import AuditEvent
from cxrserve.audit.json_file import JsonFile
from cxrserve.audit.spool import Spool
from cxrserve.audit.syslog import SyslogTls
from cxrserve.errors import ConfigurationError
from cxrserve.settings import Settings

_SYSLOG_PORT: Final = 6514  # RFC 5425
_log: Final = logging.getLogger("cxrserve.audit")


class Sink(Protocol):
    """A place that events are written to."""

    def write(self, event: AuditEvent) -> None: ...

    def close(self) -> None: ...


class Trail:
    """Writes events to all sinks, on a thread of its own, in order."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks: Final = sinks
        self._events: Final[queue.SimpleQueue[AuditEvent | None]] = queue.SimpleQueue()
        self._thread: Final = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def record(self, event: AuditEvent) -> None:
        """Write one event soon. Never blocks and never fails."""
        self._events.put(event)

    def close(self) -> None:
        """Write what is left, and close the sinks."""
        self._events.put(None)
        self._thread.join()
        for sink in self._sinks:
            sink.close()

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            for sink in self._sinks:
                try:
                    sink.write(event)
                except OSError as error:
                    _log.error("an audit event could not be written (%s)", error.strerror)
                except Exception as error:
                    _log.error("an audit event could not be written (%s)", type(error).__name__)


_trail: Trail | None = None


def record(event: AuditEvent) -> None:
    """Record one event in the trail of this process, if it has one."""
    if _trail is not None:
        _trail.record(event)


@contextmanager
def open_trail(settings: Settings, *, is_service: bool = True) -> Iterator[None]:
    """Open the trail that the settings ask for while the block runs, and record its start and stop.

    Args:
        is_service: False for a command that runs beside the service: its start and stop are not recorded.

    Raises:
        ConfigurationError: a sink cannot be used.
    """
    global _trail
    sinks = [_sink(text.strip(), settings) for text in settings.audit.split(",") if text.strip()]
    if not sinks:
        yield
        return
    _trail = Trail(sinks)
    if is_service:
        record(AuditEvent(action="start"))
    try:
        yield
    finally:
        if is_service:
            record(AuditEvent(action="stop"))
        trail, _trail = _trail, None
        trail.close()


def _sink(text: str, settings: Settings) -> Sink:
    url = urlsplit(text)
    try:
        if url.scheme == "file" and not url.netloc and url.path.startswith("/"):
            file = Path(url.path)
            with file.open("ab"):  # found out now and not at the first event
                file.chmod(0o600)
            return JsonFile(file)
        if url.scheme == "syslog-tls" and url.hostname:
            return SyslogTls(
                url.hostname,
                url.port or _SYSLOG_PORT,
                _context(settings),
                Spool(_spool_folder(settings)),
                node=settings.node_name or socket.gethostname(),
            )
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"CXRSERVE_AUDIT: {text} cannot be used: {error.strerror}.") from None
    except ValueError:
        pass
    raise ConfigurationError(
        f"CXRSERVE_AUDIT has {text!r}, which is neither file:/PATH nor syslog-tls://HOST:PORT."
    )


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.audit_tls_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.audit_tls_certificate is not None:
        context.load_cert_chain(settings.audit_tls_certificate, settings.audit_tls_key)
    return context


def _spool_folder(settings: Settings) -> Path:
    if settings.audit_spool is not None:
        return settings.audit_spool
    if settings.archive is None:
        raise ConfigurationError(
            "an audit trail by syslog needs a folder for messages that wait: CXRSERVE_AUDIT_SPOOL."
        )
    return settings.archive / "audit-spool"
