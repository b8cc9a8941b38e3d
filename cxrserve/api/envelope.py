"""The envelope around every answer: request id, security headers, the log lines, and the last catch."""

from __future__ import annotations

import logging
import traceback
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxrserve.api import problems, record
from cxrserve.metrics import Metrics

_log: Final = logging.getLogger("cxrserve.api")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

_HEADERS: Final = {
    # Answers speak of a patient's image: no cache keeps them (RFC 9111, 5.2.2.5).
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Envelope:
    """ASGI middleware; the outermost that is ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        noted = record.begin(scope)
        status = problems.CLIENT_GONE
        # A client that waits to be told to send its body, and is refused instead, keeps it: what it sent
        # next would pass for that body, so the connection ends (RFC 9110, 10.1.1).
        waits = Headers(scope=scope).get("expect", "").lower() == "100-continue"

        async def received() -> Message:
            nonlocal waits
            waits = False
            return await receive()

        async def sealed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = noted.request_id
                if waits:
                    headers["Connection"] = "close"
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, received, sealed)
        except Exception as error:
            # Frames and the kind only: an exception's message may quote the file it choked on.
            frames = "".join(traceback.format_tb(error.__traceback__))
            _log.error("request=%s %s\n%s", noted.request_id, type(error).__name__, frames.rstrip())
            await problems.unexpected(scope)(scope, receive, sealed)
        finally:
            if status == problems.CLIENT_GONE and noted.outcome == "ok":
                noted.outcome = "cut-off"  # at shutdown, after its time to finish
            method = scope["method"] if scope["method"] in _METHODS else None
            path = getattr(scope.get("route"), "path", None)
            noted.write(method=method, path=path, status=status)
            metrics: Metrics = scope["app"].state.service.metrics
            metrics.request(path, status, noted.outcome, noted.seconds)
