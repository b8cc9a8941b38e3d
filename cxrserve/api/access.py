"""Who may ask: a bearer token, where one is set; without one, patient data only to this very machine."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Final

from fastapi import Request

from cxrserve.api.service import service_of
from cxrserve.errors import Forbidden, Unauthorized

# Probes and pages hold nothing of anyone; pages ask for the token themselves.
_OPEN: Final = frozenset({"/healthz", "/readyz", "/", "/problems/{slug}", "/openapi.json"})
_OPEN_BELOW: Final = ("/docs", "/viewer")


async def require_token(request: Request) -> None:
    """Pass, or refuse a request without the token that is set (RFC 6750). A dependency of every route.

    Raises:
        Unauthorized: no token, or not this one; as quickly for a nearly right one as for any other.
    """
    token = (await service_of(request)).settings.token.get_secret_value()
    path = getattr(request.scope.get("route"), "path", "")
    if not token or path in _OPEN or path.startswith(_OPEN_BELOW):
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise Unauthorized(
            "this needs `Authorization: Bearer` with the service's token (CXRSERVE_TOKEN). "
            "Ask whoever runs it."
        )


async def protect_patients(request: Request) -> None:
    """Pass, or refuse patient data that anyone could ask for. A dependency of routes that give or take it.

    Raises:
        Forbidden: no token is set, and the service is reachable from elsewhere, or was reached by another
            name than this machine's own (a page in a browser could have made it so: DNS rebinding), or the
            page of another site asks through a browser on this machine (CSRF).
    """
    settings = (await service_of(request)).settings
    if settings.token.get_secret_value():
        return
    if not _is_loopback(settings.host):
        raise Forbidden(
            "patient data is given out beyond this machine only with a token. Set CXRSERVE_TOKEN, or "
            "listen on 127.0.0.1 (CXRSERVE_HOST)."
        )
    if not _is_loopback(_bare_host(request.headers.get("host", ""))):
        raise Forbidden(
            "without a token, patient data is given out only under this machine's own name. Ask for "
            "http://127.0.0.1, or set CXRSERVE_TOKEN."
        )
    origin = request.headers.get("origin")  # browsers send it with every POST: RFC 6454, 7
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Forbidden(
            "without a token, nothing is done for the page of another site. Ask from a page of this service, "
            "or set CXRSERVE_TOKEN."
        )


def _bare_host(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
