"""Access control over real HTTP: tokens with scopes, foreign hosts and pages, proxies, refused guesses."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from cxrserve.api.accept import _parsed
from cxrserve.api.access import bare_host
from cxrserve.api.server import check_transport
from cxrserve.errors import ConfigurationError
from cxrserve.loopback import is_loopback
from tests.api import raw
from tests.api.conftest import check_problem
from tests.conftest import MakeSettings, Serve
from tests.servers import Running

TOKENS = {name: f"{name}-0123456789abcdef" for name in ("viewer", "orthanc", "prometheus", "boss")}
SCOPES = {"viewer": ["predict", "read"], "orthanc": ["store"], "prometheus": ["metrics"], "boss": ["admin"]}


@pytest.fixture(scope="module")
def guarded(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with four named clients."""
    path = tmp_path_factory.mktemp("clients") / "clients.toml"
    path.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(token.encode()).hexdigest()}"\nscopes = {SCOPES[name]}\n'
            for name, token in TOKENS.items()
        )
    )
    with serve(clients=path) as running:
        yield running


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/predict", {"viewer", "boss"}), ("/metrics", {"prometheus", "boss"}), ("/model", set(TOKENS))],
)
def test_a_client_may_do_what_its_scopes_say(
    guarded: Running, chest_jpeg: bytes, path: str, allowed: set[str]
) -> None:
    for name, token in TOKENS.items():
        if path == "/predict":
            answer = httpx.post(guarded.url + path, content=chest_jpeg, headers=_bearer(token), timeout=60)
        else:
            answer = httpx.get(guarded.url + path, headers=_bearer(token), timeout=60)
        if name in allowed:
            assert answer.status_code == 200, name
        else:
            check_problem(answer, 403, "scope-missing")


def test_two_tokens_are_refused(guarded: Running) -> None:
    lines = [f"Authorization: Bearer {TOKENS['boss']}", "Authorization: Bearer x"]
    assert raw.asked(guarded.port, raw.head(*lines, method="GET", path="/model")) == 400


def test_guesses_are_slowed_and_logged_once(guarded: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cxrserve")
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        started = time.perf_counter()
        for _ in range(8):
            check_problem(client.get("/model", headers=_bearer("wrong")), 401, "unauthorized")
        assert time.perf_counter() - started > 2.5
        assert client.get("/model", headers=_bearer(TOKENS["boss"])).status_code == 200
    refused = [each for each in caplog.records if "outcome=unauthorized" in each.getMessage()]
    assert 5 <= len(refused) <= 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "names no client"),
        ("[a\n", "is not TOML"),
        ('[a]\nsha256 = "00"\nscopes = ["read"]\n', "a.sha256"),
        (f'[a]\nsha256 = "{"0" * 64}"\nscopes = ["everything"]\n', "a.scopes"),
        ("".join(f'[{each}]\nsha256 = "{"0" * 64}"\nscopes = ["read"]\n' for each in "ab"), "the same token"),
    ],
)
def test_a_file_of_clients_that_cannot_be_used(
    serve: Serve, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "clients.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=message), serve(clients=path):
        pass


def test_a_trailing_slash_is_no_redirect(server: Running) -> None:
    """It would be sent before the token is checked, to any Host that the client named."""
    answer = httpx.get(f"{server.url}/model/", headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize("path", ["/model", "/metrics"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:evil"}, 403),
        ({"Host": "127.0.0.1:80@evil"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"X-Forwarded-For": "192.0.2.1"}, 403),
        ({"Via": "1.1 proxy"}, 403),
    ],
)
def test_without_a_token_only_this_machine_is_answered(
    server: Running, path: str, headers: dict[str, str], status: int
) -> None:
    assert httpx.get(server.url + path, headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/predict", "/triage", "/display"])
def test_without_a_token_a_foreign_page_starts_no_work(server: Running, path: str, chest_jpeg: bytes) -> None:
    answer = httpx.post(
        server.url + path, content=chest_jpeg, headers={"Origin": "http://evil.example"}, timeout=60
    )
    check_problem(answer, 403, "forbidden")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("localhost:8000", True),
        ("[::1]:8000", True),
        ("127.0.0.1:evil", False),
        ("127.0.0.1:80@evil", False),
        ("[::1]evil", False),
        ("evil@127.0.0.1", False),
        ("", False),
    ],
)
def test_host_headers_are_parsed_strictly(host: str, loopback: bool) -> None:
    assert is_loopback(bare_host(host)) is loopback


def test_a_long_accept_header_takes_linear_time() -> None:
    """Sixteen times the length, far less than 256 times the time."""
    seconds = []
    for blanks in (4_000, 64_000):
        started = time.process_time()
        for _ in range(20):
            assert _parsed("multipart/related" + ";type" * blanks)[0] is None
        seconds.append(time.process_time() - started)
    assert seconds[1] < 64 * max(seconds[0], 1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"tls_certificate": "a.pem"},
        {"tls_client_ca": "a.pem"},
        {"behind_proxy": "proxy.example"},
    ],
)
def test_beyond_this_machine_nothing_is_sent_in_clear(
    make_settings: MakeSettings, settings: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="CXRSERVE_"):
        check_transport(make_settings(**settings))


def test_a_named_proxy_or_tls_is_enough(make_settings: MakeSettings) -> None:
    for settings in (
        {"host": "0.0.0.0", "behind_proxy": "192.0.2.1, 10.0.0.0/8"},
        {"host": "0.0.0.0", "tls_certificate": "a.pem", "tls_key": "a.key"},
        {"host": "0.0.0.0", "insecure_http": "true"},
        {},
    ):
        check_transport(make_settings(**settings))


def test_a_token_is_long_and_may_be_in_a_file(make_settings: MakeSettings, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="at least 16"):
        make_settings(token="a")
    path = tmp_path / "token"
    path.write_text(TOKENS["boss"] + "\n")
    assert make_settings(token_file=path).token.get_secret_value() == TOKENS["boss"]
    with pytest.raises(ValidationError, match="both set"):
        make_settings(token_file=path, token=TOKENS["boss"])
    with pytest.raises(ValidationError, match="cannot be read"):
        make_settings(token_file=tmp_path / "nothing")
