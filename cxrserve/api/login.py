"""Routes of the viewer's sign-in: `/login`, `/login/callback` and `/logout`; only with single sign-on."""

from __future__ import annotations

import asyncio
import html
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from cxrserve.api.request_log import record_of
from cxrserve.api.service import Service, service_of
from cxrserve.errors import Forbidden, LoginFailed
from cxrserve.identity.clients import Client
from cxrserve.identity.code_flow import CodeFlow, PendingLogin
from cxrserve.identity.oidc_config import CALLBACK_PATH, LoginConfig

if TYPE_CHECKING:  # needs the extra [oidc]
    from cxrserve.identity.single_sign_on import SingleSignOn

router = APIRouter(include_in_schema=False)
ServiceOf = Annotated[Service, Depends(service_of)]

LOGIN_PATH: Final = "/login"
LOGOUT_PATH: Final = "/logout"
_SESSION: Final = "cxrserve-session"
_PENDING: Final = "cxrserve-login"
_PENDING_S: Final = 600
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_CODE: Final = 4096


class SignedOut(BaseModel):
    """The address at the identity provider where the user signs out there too; "" if there is none."""

    url: str


def session_of(request: Request, service: Service) -> str:
    """The session id that a browser sent; "" without one."""
    login = _login_of(service)
    return "" if login is None else request.cookies.get(_cookie(login, _SESSION), "")


def user_of(request: Request, service: Service) -> Client | None:
    """The user who has signed in with this browser.

    Raises:
        Forbidden: another site's page may have caused a request that changes something (CSRF).
    """
    session_id, login = session_of(request, service), _login_of(service)
    if not session_id or login is None or service.single_sign_on is None:
        return None
    client = service.single_sign_on.sessions.find(session_id)
    # Browsers send the Origin with every such request (RFC 6454, 7); SameSite=Strict is the second lock.
    if client is not None and request.method not in _SAFE_METHODS:
        parts = urlsplit(login.redirect_uri)
        if request.headers.get("origin") != f"{parts.scheme}://{parts.netloc}":
            raise Forbidden("requests with a session are accepted from this service's own pages alone.")
    return client


@router.get(LOGIN_PATH)
async def login(service: ServiceOf) -> Response:
    """Send the browser to the identity provider."""
    sign_on, config, flow = _parts(service)
    pending = PendingLogin.new()
    response = RedirectResponse(await sign_on.in_thread(lambda: flow.url(pending)), 303)
    # Lax: the browser comes back by a link from another site.
    _set_cookie(response, config, _PENDING, pending.serialise(), max_age_s=_PENDING_S, same_site="lax")
    return response


@router.get(CALLBACK_PATH)
async def callback(
    request: Request, service: ServiceOf, state: str = "", code: str = "", iss: str = "", error: str = ""
) -> Response:
    """Take the browser back from the identity provider, and start a session."""
    sign_on, config, flow = _parts(service)
    record = record_of(request.scope)
    pending = PendingLogin.parse(request.cookies.get(_cookie(config, _PENDING), ""))
    try:
        if pending is None:
            own = urlsplit(config.redirect_uri)
            raise LoginFailed(
                f"this browser has not begun to sign in, or too long ago. Open {own.scheme}://{own.netloc}/ "
                "and sign in again."
            )
        if error or not 0 < len(code) <= _MAX_CODE:
            raise LoginFailed("the identity provider did not confirm the sign-in. Sign in again.")
        client = await sign_on.in_thread(lambda: flow.finish(pending, state=state, code=code, issuer=iss))
    except LoginFailed as failure:
        record.outcome = failure.slug
        wait_s = service.refusals.count(record.address)
        if wait_s:
            record.quiet = True
            await asyncio.sleep(wait_s)
        failed = _failure_page(failure)
        _delete_cookie(failed, config, _PENDING)
        return failed
    record.client = client.name
    sign_on.sessions.end(session_of(request, service))
    response = RedirectResponse("/", 303)
    _set_cookie(
        response,
        config,
        _SESSION,
        sign_on.sessions.start(client),
        max_age_s=int(config.session_s),
        same_site="strict",
    )
    _delete_cookie(response, config, _PENDING)
    return response


@router.post(LOGOUT_PATH)
async def logout(request: Request, response: Response, service: ServiceOf) -> SignedOut:
    """End the session; the answer says where the user signs out at the identity provider."""
    sign_on, config, flow = _parts(service)
    sign_on.sessions.end(session_of(request, service))
    _delete_cookie(response, config, _SESSION)
    url = await sign_on.in_thread(flow.logout_url)
    if url and config.post_logout_redirect_uri:
        url += "&" + urlencode({"post_logout_redirect_uri": config.post_logout_redirect_uri})
    return SignedOut(url=url)


def _login_of(service: Service) -> LoginConfig | None:
    return None if service.single_sign_on is None else service.single_sign_on.login


def _parts(service: Service) -> tuple[SingleSignOn, LoginConfig, CodeFlow]:
    sign_on = service.single_sign_on
    if sign_on is None or sign_on.login is None or sign_on.flow is None:
        raise HTTPException(404)
    return sign_on, sign_on.login, sign_on.flow


def _is_secure(config: LoginConfig) -> bool:
    return config.redirect_uri.startswith("https:")


def _cookie(config: LoginConfig, name: str) -> str:
    """The name of a cookie. With TLS, `__Host-` keeps other hosts of the domain from setting it."""
    return f"__Host-{name}" if _is_secure(config) else name


def _set_cookie(
    response: Response, config: LoginConfig, name: str, value: str, *, max_age_s: int, same_site: str
) -> None:
    response.set_cookie(
        _cookie(config, name),
        value,
        max_age=max_age_s,
        path="/",
        secure=_is_secure(config),
        httponly=True,
        samesite="lax" if same_site == "lax" else "strict",
    )


def _delete_cookie(response: Response, config: LoginConfig, name: str) -> None:
    response.delete_cookie(_cookie(config, name), path="/", secure=_is_secure(config), httponly=True)


def _failure_page(failure: LoginFailed) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{failure.title}</title>'
        f'<h1>{failure.title}</h1><p role="alert">{html.escape(failure.detail)}</p>'
        f'<p><a href="{LOGIN_PATH}">Sign in again</a></p></html>',
        failure.http_status,
    )
