"""The sign-in of the viewer at a real identity provider: there and back in Chromium, and its guards."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from cxrserve.audit.trail import open_trail
from tests.api.conftest import check_problem
from tests.browser.conftest import dicom_file
from tests.conftest import Serve
from tests.identity.provider import AUDIENCE, SECRET, IdentityProvider, identity_provider
from tests.orthanc import free_port
from tests.waiting import until

COOKIE = "cxrserve-session"


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A service whose viewer signs in at `provider`, and its audit trail."""

    url: str
    provider: IdentityProvider
    audit: Path

    def events(self, action: str) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return [event for event in events if event["action"] == action]


@pytest.fixture(scope="module")
def guarded(browser: Browser, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder, port = tmp_path_factory.mktemp("login"), free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "secret").write_text(SECRET + "\n")
    with identity_provider(f"{url}/login/callback", f"{url}/") as provider:
        (folder / "oidc.toml").write_text(
            f'issuer = "{provider.issuer}"\naudience = "{AUDIENCE}"\n'
            '[roles]\nradiologist = ["predict", "read"]\npacs-admin = ["admin"]\n'
            f'[login]\nclient_id = "viewer"\nclient_secret_file = "{folder / "secret"}"\n'
            f'redirect_uri = "{url}/login/callback"\npost_logout_redirect_uri = "{url}/"\n'
        )
        with (
            serve(
                port=port, oidc=folder / "oidc.toml", audit=f"file:{folder / 'audit.jsonl'}", decode_workers=2
            ) as running,
            open_trail(running.server.service.settings),
        ):
            yield Guarded(url=url, provider=provider, audit=folder / "audit.jsonl")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(60_000)
    yield context
    context.close()


def sign_in(page: Page, user: str) -> None:
    """From the viewer's dialog through the provider's pages and back."""
    page.get_by_role("link", name="Sign in").click()
    at_provider(page, user)


def at_provider(page: Page, user: str) -> None:
    page.wait_for_url(re.compile(r"http://localhost:.*/interaction/"))
    page.locator("input[name=login]").fill(user)
    page.locator("input[name=password]").fill("anything")
    page.locator("button[type=submit]").click()
    page.locator("button[type=submit]", has_text="Continue").click()
    page.wait_for_url(re.compile(r"http://127\.0\.0\.1:"))


def session(context: BrowserContext) -> str:
    (value,) = [cookie["value"] for cookie in context.cookies() if cookie["name"] == COOKIE]
    return value


def test_there_and_back_and_out_again(guarded: Guarded, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{guarded.url}/?finding=Edema")
    expect(page.get_by_role("dialog")).to_contain_text("Sign in to use this service")
    sign_in(page, "radiologist")
    page.wait_for_url(f"{guarded.url}/?finding=Edema")  # the address of the beginning
    expect(page.locator("#user")).to_have_text("radiologist")
    page.set_input_files("#file-input", [dicom_file()])
    expect(page.locator(".finding")).to_have_count(14)

    (cookie,) = [cookie for cookie in context.cookies() if cookie["name"] == COOKIE]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert not [cookie for cookie in context.cookies() if cookie["name"] == "cxrserve-login"]
    assert page.evaluate("() => document.cookie") == ""
    headers = {"Cookie": f"{COOKIE}={session(context)}"}
    assert httpx.get(f"{guarded.url}/model", headers=headers).status_code == 200
    check_problem(httpx.get(f"{guarded.url}/metrics", headers=headers), 403, "scope-missing")

    page.on("dialog", lambda dialog: dialog.accept())  # the images would be lost
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile(r"/session/end"))
    check_problem(httpx.get(f"{guarded.url}/model", headers=headers), 401, "unauthorized")
    assert not [cookie for cookie in context.cookies() if cookie["name"] == COOKIE]
    page.locator("button", has_text="Yes").click()
    page.wait_for_url(f"{guarded.url}/")
    expect(page.get_by_role("dialog")).to_contain_text("Sign in to use this service")
    until(lambda: bool(guarded.events("logout")), 60)
    login = next(event for event in guarded.events("login") if event["outcome"] == "success")
    assert (login["user"], login["address"]) == ("radiologist", "127.0.0.1")
    assert guarded.events("predict")[0]["user"] == "radiologist"
    assert [event["user"] for event in guarded.events("logout")] == ["radiologist"]


def test_images_stay_open_when_the_session_ends(guarded: Guarded, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(guarded.url)
    sign_in(page, "radiologist")
    page.set_input_files("#file-input", [dicom_file("first.dcm")])
    expect(page.locator(".finding")).to_have_count(14)
    headers = {"Cookie": f"{COOKIE}={session(context)}", "Origin": guarded.url}
    assert httpx.post(f"{guarded.url}/logout", headers=headers).status_code == 200  # in another window
    page.set_input_files("#file-input", [dicom_file("second.dcm")])
    expect(page.get_by_role("dialog")).to_contain_text("Your session has ended")
    with context.expect_page() as opened:
        page.get_by_role("link", name="Sign in").click()
    opened.value.wait_for_url(f"{guarded.url}/")  # the provider still knows the user
    expect(opened.value.locator("#user")).to_have_text("radiologist")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#radiographs")).to_contain_text("second.dcm")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".finding")).to_have_count(14)


def test_another_site_starts_nothing(guarded: Guarded, context: BrowserContext, tmp_path: Path) -> None:
    """A page of another site sends a form to the service, from a browser that has signed in."""
    page = context.new_page()
    page.goto(guarded.url)
    sign_in(page, "radiologist")
    expect(page.locator("#user")).to_be_visible()
    value = session(context)
    (tmp_path / "evil.html").write_text(
        f'<form method="post" action="{guarded.url}/logout"><button>Win</button></form>'
    )
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as evil:
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        page.goto(f"http://localhost:{evil.server_address[1]}/evil.html")
        with page.expect_response(f"{guarded.url}/logout") as answer:
            page.get_by_role("button", name="Win").click()
        evil.shutdown()
    assert answer.value.status == 401  # the cookie did not come along
    headers = {"Cookie": f"{COOKIE}={value}"}
    for origin in (None, "null", "http://evil.example", f"{guarded.url}.evil.example"):
        sent = headers if origin is None else {**headers, "Origin": origin}
        for path in ("/logout", "/predict"):  # and if it had come
            check_problem(httpx.post(guarded.url + path, headers=sent), 403, "forbidden")
    assert httpx.get(f"{guarded.url}/model", headers=headers).status_code == 200
    own = {**headers, "Origin": guarded.url}
    assert httpx.post(f"{guarded.url}/predict", headers=own).status_code == 400  # let in; no file


def test_the_way_to_the_provider_is_bound_to_the_browser(guarded: Guarded) -> None:
    """PKCE, state and nonce are new each time; an answer without this browser's cookie starts no session."""
    answers = [httpx.get(f"{guarded.url}/login") for _ in range(2)]
    queries = [parse_qs(urlsplit(answer.headers["Location"]).query) for answer in answers]
    for name in ("state", "nonce", "code_challenge"):
        assert queries[0][name] != queries[1][name]
    assert queries[0]["code_challenge_method"] == ["S256"]
    cookie = answers[0].headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    pair = cookie.partition(";")[0]
    state = queries[0]["state"][0]
    before = len(guarded.events("login"))
    for query, headers, reason in (
        (f"code=x&state={state}", {}, "has not begun to sign in"),
        (f"code=x&state={queries[1]['state'][0]}", {"Cookie": pair}, "another sign-in"),
        (f"code=x&state={state}&iss=http://evil.example", {"Cookie": pair}, "another identity provider"),
        (f"code=x&state={state}", {"Cookie": pair}, "did not confirm"),  # a code that nobody gave out
        (f"error=access_denied&state={state}", {"Cookie": pair}, "did not confirm"),
    ):
        answer = httpx.get(f"{guarded.url}/login/callback?{query}", headers=headers, timeout=60)
        assert answer.status_code == 401, query
        assert reason in answer.text
        assert COOKIE not in answer.headers.get("Set-Cookie", "")
        assert "Sign in again" in answer.text
    until(lambda: len(guarded.events("login")) == before + 5, 60)
    assert {event["outcome"] for event in guarded.events("login")[before:]} == {"failure"}


def test_a_code_is_good_once(guarded: Guarded, context: BrowserContext) -> None:
    page, requests = context.new_page(), list[Request]()
    page.on("request", lambda request: requests.append(request))
    page.goto(guarded.url)
    sign_in(page, "boss")
    expect(page.locator("#user")).to_have_text("boss")
    (callback,) = [request for request in requests if "/login/callback?" in request.url]
    cookie = callback.all_headers()["cookie"]
    assert "cxrserve-login" in cookie
    assert httpx.get(callback.url, headers={"Cookie": cookie}, timeout=60).status_code == 401
