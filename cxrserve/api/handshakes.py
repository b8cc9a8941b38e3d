"""TLS handshakes of the HTTP port that fail: logged and recorded with the peer's address."""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from typing import Any, Final

from cxrserve.api.connections import plain_address
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record

_log: Final = logging.getLogger("cxrserve.tls")


def record_failed_handshakes(loop: asyncio.AbstractEventLoop) -> None:
    """Record every handshake that fails on a server of `loop`, from now on.

    asyncio closes such a connection and tells neither its protocol nor the loop's exception handler. Its one
    place that knows both the peer and the outcome is the method that makes the transport, so that method is
    wrapped, on this loop alone.
    """
    target: Any = loop
    make = target._make_ssl_transport

    def watched(rawsock: Any, protocol: Any, context: Any, waiter: Any = None, **options: Any) -> Any:
        peer = (options.get("extra") or {}).get("peername")
        if waiter is not None and peer and options.get("server_side"):
            waiter.add_done_callback(partial(_ended, plain_address(peer[0])))
        return make(rawsock, protocol, context, waiter, **options)

    target._make_ssl_transport = watched


def _ended(address: str, handshake: asyncio.Future[None]) -> None:
    error = None if handshake.cancelled() else handshake.exception()
    # A client that only went away was not refused: it may distrust this service's certificate.
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return
    record(AuditEvent(action="login", outcome="failure", detail="tls", address=address))
    _log.warning(
        "TLS handshake with %s failed: %s. Check certificates, and that both sides use TLS.",
        address,
        error.reason or "refused",
    )
