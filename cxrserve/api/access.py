"""Access control: a bearer token with a scope if clients are named; otherwise only this machine."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from fastapi import Request

from cxrserve.api.login import user_of
from cxrserve.api.request_log import record_of
from cxrserve.api.service import Service, service_of
from cxrserve.errors import Forbidden, RequestError, ScopeMissing, Unauthorized
from cxrserve.identity.clients import Client, Scope
from cxrserve.loopback import is_loopback

# Probes and pages contain no patient data; pages ask the user for the token.
OPEN_PATHS: Final = frozenset(
    {"/healthz", "/readyz", "/", "/problems/{slug}", "/openapi.json", "/login", "/login/callback"}
)
_OPEN_BELOW: Final = ("/docs", "/viewer")
# Routes without patient data that every client may use.
ANY_CLIENT: Final = frozenset({"/model", "/model/report", "/watch", "/logout"})
# All others. A route that is missing here needs `admin`.
_SCOPES: Final[dict[tuple[str, str], Scope]] = {
    ("POST", "/predict"): "predict",
    ("POST", "/predict/study"): "predict",
    ("POST", "/triage"): "predict",
    ("POST", "/display"): "predict",
    ("GET", "/metrics"): "metrics",
    ("POST", "/dicom-web/studies"): "store",
    ("POST", "/dicom-web/studies/{study}"): "store",
    ("GET", "/studies"): "read",
    ("GET", "/studies/{study}"): "read",
    ("GET", "/studies/{study}/images/{image}"): "read",
    ("GET", "/studies/{study}/images/{image}/answer"): "read",
    ("GET", "/studies/{study}/images/{image}/display"): "read",
    ("POST", "/studies/{study}/images/{image}/predict"): "read",
    ("GET", "/studies/{study}/results"): "read",
    ("GET", "/studies/{study}/fhir"): "read",
    ("GET", "/studies/{study}/labels"): "read",
    ("POST", "/studies/{study}/labels"): "label",
    ("POST", "/studies/{study}"): "pull",
    ("GET", "/quarantine"): "read",
    ("GET", "/quarantine/{sha256}"): "read",
    ("POST", "/quarantine/{sha256}/{decision}"): "quarantine",
}
# A prediction of a stored image is a prediction as well.
_SECOND_SCOPES: Final[dict[tuple[str, str], Scope]] = {
    ("POST", "/studies/{study}/images/{image}/predict"): "predict"
}
_JWT_START: Final = "ey"  # "{" in base64, as every JWT begins
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.-]{1,253})(:[0-9]{1,5})?")
# A reverse proxy adds some of these. Without a token, its clients must not pass for this machine's.
_PROXY_HEADERS: Final = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
)


def scope_of(path: str, method: str) -> Scope | None:
    """The scope that a route needs; None if any client may use it."""
    return None if path in ANY_CLIENT else _SCOPES.get((method, path), "admin")


def is_open(path: str) -> bool:
    """True if a route asks for no token."""
    return path in OPEN_PATHS or path.startswith(_OPEN_BELOW)


async def require_client(request: Request) -> None:
    """Check the request's bearer token (RFC 6750) or session, if the service needs one. For every route.

    Raises:
        Unauthorized: no token, or a wrong one; the comparison takes the same time for every wrong token.
        RequestError: two tokens.
        ScopeMissing: the client may not make such requests.
        IdentityProviderUnavailable: the token cannot be checked now.
        Forbidden: the service has no clients, and the request may come from another machine or site.
    """
    service = await service_of(request)
    path = getattr(request.scope.get("route"), "path", "")
    if is_open(path):
        return
    if not service.guarded:
        _check_is_local(request, service)
        return
    record = record_of(request.scope)
    try:
        client = await _client_of(request, service)
    except Unauthorized:
        wait_s = service.refusals.count(record.address)
        if wait_s:
            record.quiet = True
            await asyncio.sleep(wait_s)
        raise
    record.client = client.name
    request.state.client = client
    for scope in (scope_of(path, request.method), _SECOND_SCOPES.get((request.method, path))):
        if not client.may(scope):
            raise ScopeMissing(
                f"this client may not make such requests: they need the scope {scope} (CXRSERVE_CLIENTS). "
                "Ask the administrator for it."
            )


def may(request: Request, scope: Scope) -> bool:
    """True if the client of an accepted request may also make those that need `scope`."""
    client: Client | None = getattr(request.state, "client", None)  # None: the service asks for no token
    return client is None or client.may(scope)


async def protect_patients(request: Request) -> None:
    """Refuse to exchange patient data beyond this machine without a token. A dependency of such routes.

    Raises:
        Forbidden: no token is set, and the service listens beyond this machine, or behind a proxy.
    """
    service = await service_of(request)
    if not service.guarded and not _only_for_this_machine(service):
        raise Forbidden(
            "patient data leaves this machine only with a token. Set CXRSERVE_TOKEN, or "
            "listen on 127.0.0.1 (CXRSERVE_HOST) without a proxy."
        )


async def _client_of(request: Request, service: Service) -> Client:
    """The client of the request's token, or the user of its session.

    Raises:
        Unauthorized: there is neither, or it is not valid.
        RequestError: two tokens.
    """
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise RequestError("the request has two Authorization headers. Send one.")
    if not values and (user := user_of(request, service)) is not None:
        return user
    scheme, _, credentials = "".join(values).partition(" ")
    token = credentials.strip()
    client = service.clients.find(token)
    if scheme.lower() == "bearer":
        if client is not None:
            return client
        if service.single_sign_on is not None and token.startswith(_JWT_START):
            return await service.single_sign_on.client_of(token)
    raise Unauthorized(
        "this path needs `Authorization: Bearer` with a token of this service (CXRSERVE_TOKEN, "
        "CXRSERVE_CLIENTS, CXRSERVE_OIDC), or a sign-in. Ask its administrator for one."
    )


def _only_for_this_machine(service: Service) -> bool:
    return is_loopback(service.settings.host) and not service.settings.behind_proxy


def _check_is_local(request: Request, service: Service) -> None:
    """Check that no foreign page and no proxy caused the request. For services without clients.

    Raises:
        Forbidden: the Host header is not a name of this machine (a web page may have caused the request: DNS
            rebinding), the Origin is another site's page (CSRF), or a proxy forwarded the request.
    """
    headers = request.headers
    host = headers.get("host", "")
    if _only_for_this_machine(service):
        if not is_loopback(bare_host(host)):
            raise Forbidden(
                "without a token, requests are answered only if they use this machine's own name. Use "
                "http://127.0.0.1, or set CXRSERVE_TOKEN."
            )
        if any(name in headers for name in _PROXY_HEADERS):
            raise Forbidden(
                "without a token, requests through a proxy are refused: they may come from another machine. "
                "Set CXRSERVE_TOKEN, and name the proxy in CXRSERVE_BEHIND_PROXY."
            )
    origin = headers.get("origin")  # browsers send it with every POST: RFC 6454, 7
    is_foreign = origin is not None and origin.partition("://")[2] != host
    if is_foreign and origin not in service.settings.allowed_origins:
        raise Forbidden(
            "without a token, requests from pages of another site are refused. Use a page of this service, "
            "set CXRSERVE_TOKEN, or name the site in CXRSERVE_CORS_ORIGINS."
        )


def bare_host(host: str) -> str:
    """The name or address in a Host header, without port; "" if the header has another form."""
    match = _HOST.fullmatch(host)
    return "" if match is None else match[1].strip("[]")
