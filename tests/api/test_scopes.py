"""Every route needs a token and a scope, or stands on a short list of open ones with a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route

from cxrserve.api import access
from cxrserve.api.app import create_app
from cxrserve.api.audit import _ACTIONS
from tests.conftest import MakeSettings
from tests.stations import Station, station

OPEN = {
    "/healthz": "a probe, without a token",
    "/readyz": "a probe, without a token",
    "/": "the page that asks the user for the token",
    "/viewer/about": "what that page needs to sign in: no patient, no figure",
    "/viewer/report": "the bundle's report: no patient",
    "/viewer/{path:path}": "the page's own files",
    "/docs": "a page about the API",
    "/openapi.json": "the description of the API",
    "/problems/{slug}": "the meaning of a problem, which a refused client reads",
    "/login": "the way to a session",
    "/login/callback": "the way to a session",
}
OPEN_BELOW = "/docs/"  # that page's own files
ANY_CLIENT = {
    "/model": "the bundle's contract: no patient",
    "/model/report": "the bundle's figures: no patient",
    "/watch": "counts and words about all films together",
    "/logout": "ends the session of whoever calls it",
}
READ_BY_ANY = ("/model", "/model/report", "/watch")
NO_PATIENT = {"/metrics": "counts alone"}
VALUES = {"study": "1.2.3", "image": "1.2.3.4", "sha256": "0" * 64, "decision": "drop"}
TOKENS = {"metrics": "metrics-0123456789abcdef", "read": "read-0123456789abcdef"}


def _routes(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    for route in routes:
        included = getattr(route, "original_router", None)  # newer releases of FastAPI keep routers whole
        if included is None:
            yield route
        else:
            yield from _routes(included.routes)


@pytest.fixture
def every_route(make_settings: MakeSettings, tmp_path: Path) -> list[BaseRoute]:
    """The routes of a service with an archive and with single sign-on."""
    oidc = tmp_path / "oidc.toml"
    oidc.write_text(
        'issuer = "https://id.example"\naudience = "cxrserve"\n[roles]\nreader = ["read"]\n'
        '[login]\nclient_id = "viewer"\nredirect_uri = "https://cxr.example/login/callback"\n'
    )
    app = create_app(make_settings(oidc=oidc), archive=cast(Any, object()))
    return list(_routes(app.routes))


def _unguarded(routes: list[BaseRoute]) -> list[str]:
    """Routes that are neither on a list above nor in the table of scopes, or are not asked for a token."""
    found = []
    for route in routes:
        path = getattr(route, "path", repr(route))
        if path in OPEN or path.startswith(OPEN_BELOW) or path in ANY_CLIENT:
            continue
        methods = (
            route.methods if isinstance(route, APIRoute) else ()
        )  # others have no dependencies: no token
        if not methods or any((method, path) not in access._SCOPES for method in methods):
            found.append(path)
    return found


def test_every_route_needs_a_scope_or_stands_on_the_list(every_route: list[BaseRoute]) -> None:
    paths = {getattr(route, "path", "") for route in every_route}
    assert {"/predict", "/studies/{study}", "/quarantine", "/logout"} <= paths  # all parts are there
    assert _unguarded(every_route) == []
    assert {path for _, path in access._SCOPES} | set(OPEN) | set(ANY_CLIENT) <= paths  # and nothing more
    assert set(ANY_CLIENT) == access.ANY_CLIENT
    assert {path for path in paths if access.is_open(path)} == {
        path for path in paths if path in OPEN or path.startswith(OPEN_BELOW)
    }


def test_a_route_that_nobody_listed_is_seen_and_needs_admin(every_route: list[BaseRoute]) -> None:
    router = APIRouter()

    @router.get("/studies/{study}/secrets")
    async def secrets(study: str) -> None: ...

    async def plain(request: object) -> None: ...

    added = [*router.routes, Route("/plain", plain)]
    assert _unguarded([*every_route, *added]) == ["/studies/{study}/secrets", "/plain"]
    assert access.scope_of("/studies/{study}/secrets", "GET") == "admin"
    assert access.scope_of("/studies", "DELETE") == "admin"


def test_every_route_to_a_patient_is_audited() -> None:
    """And nothing is audited that no route leads to."""
    needed = {key for key in access._SCOPES if key[1] not in NO_PATIENT}
    assert needed == _ACTIONS.keys() - {("GET", "/login/callback"), ("POST", "/logout")}


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with two clients."""
    folder = tmp_path_factory.mktemp("scopes")
    clients = folder / "clients.toml"
    clients.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(token.encode()).hexdigest()}"\nscopes = ["{name}"]\n'
            for name, token in TOKENS.items()
        )
    )
    with station(tiny_bundle, folder / "archive", {"rules": [{"name": "all"}]}, clients=clients) as running:
        yield running


def test_a_real_station_refuses_every_route_without_its_token(guarded: Station) -> None:
    """One request for each route: with a token for something else, and without one."""
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        for method, path in access._SCOPES:
            other = "read" if access.scope_of(path, method) == "metrics" else "metrics"
            wrong = {"Authorization": f"Bearer {TOKENS[other]}"}
            assert client.request(method, _url(path), headers=wrong).status_code == 403, path
        for path in ("/healthz", "/readyz", "/", "/docs", "/openapi.json", "/problems/unauthorized"):
            assert client.get(path).status_code == 200, path
    for number, (method, path) in enumerate((*access._SCOPES, *(("GET", path) for path in READ_BY_ANY))):
        # Each from an address of its own: the refusals of one address are slowed.
        transport = httpx.HTTPTransport(local_address=f"127.0.1.{number + 1}")
        with httpx.Client(base_url=guarded.url, timeout=60, transport=transport) as client:
            assert client.request(method, _url(path)).status_code == 401, path


def _url(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda name: VALUES[name[1]], path)
