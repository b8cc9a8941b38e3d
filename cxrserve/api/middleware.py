"""ASGI middleware around every request: request id, /v1, security headers, log lines, unexpected errors."""

from __future__ import annotations

import logging
import traceback
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxrserve.api import problems
from cxrserve.api.audit import record_request
from cxrserve.api.request_log import start_record
from cxrserve.metrics import Metrics

_log: Final = logging.getLogger("cxrserve.api")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_VERSION: Final = "/v1"
# Not those of the archive: a proxy that keeps /studies from other networks need not know another name.
_VERSIONED: Final = frozenset(
    {"/predict", "/predict/study", "/triage", "/model", "/model/report", "/display"}
)

_HEADERS: Final = {
    # Responses describe a patient's image: no cache may store them (RFC 9111, 5.2.2.5).
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class RequestMiddleware:
    """The outermost middleware of this project."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = start_record(scope)
        _remove_version(scope)
        status = problems.CLIENT_GONE
        # A client that expects "100 Continue" and is refused does not send its body. Its next request would
        # be parsed as that body, so the connection must end (RFC 9110, 10.1.1).
        expects_continue = Headers(scope=scope).get("expect", "").lower() == "100-continue"

        async def receive_body() -> Message:
            nonlocal expects_continue
            expects_continue = False
            return await receive()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = record.request_id
                if expects_continue:
                    headers["Connection"] = "close"
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive_body, send_with_headers)
        except Exception as error:
            # Log the type and the frames only: the message may quote the patient's file.
            frames = "".join(traceback.format_tb(error.__traceback__))
            _log.error("request=%s %s\n%s", record.request_id, type(error).__name__, frames.rstrip())
            await problems.unexpected(scope)(scope, receive, send_with_headers)
        finally:
            if status == problems.CLIENT_GONE and record.outcome == "ok":
                record.outcome = "cut-off"  # at shutdown, when the time to finish was over
            method = scope["method"] if scope["method"] in _METHODS else None
            path = getattr(scope.get("route"), "path", None)
            record.write(method=method, path=path, status=status)
            record_request(record, method=method, path=path, status=status)
            metrics: Metrics = scope["app"].state.service.metrics
            metrics.request(path, status, record.outcome, record.seconds)


def _remove_version(scope: Scope) -> None:
    """Make /v1/predict another name of /predict, so that clients can name the version that they know."""
    unversioned = scope["path"].removeprefix(_VERSION)
    if unversioned != scope["path"] and unversioned in _VERSIONED:
        scope["path"], scope["raw_path"] = unversioned, unversioned.encode()
