"""HTTPS: renewed certificates without a restart, client certificates, and those that were revoked."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cxrserve.api.server import check_transport, http_tls
from cxrserve.audit.trail import open_trail
from cxrserve.errors import ConfigurationError
from tests.conftest import MakeSettings, Serve
from tests.pacs.certificates import Authority, Pair
from tests.servers import Running
from tests.waiting import until


def _replace(target: Pair, source: Pair) -> None:
    for new, old in ((source.certificate, target.certificate), (source.key, target.key)):
        copy = old.with_suffix(".new")
        copy.write_bytes(new.read_bytes())
        os.replace(copy, old)


def test_a_renewed_certificate_is_used_and_connections_stay(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    first, second = authority.signed("first"), authority.signed("second")
    own = Pair(tmp_path / "own.pem", tmp_path / "own.key")
    _replace(own, first)
    trusted = ssl.create_default_context(cafile=authority.own.certificate)
    with (
        serve(tls_certificate=own.certificate, tls_key=own.key) as running,
        httpx.Client(base_url=running.url, verify=trusted, timeout=60) as client,
    ):

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", running.port)).strip()

        assert running.url.startswith("https:")
        assert client.get("/healthz").status_code == 200
        (before,) = running.server.server_state.connections
        assert shown() == first.certificate.read_text().strip()
        own.certificate.write_bytes(b"half of a")  # while somebody writes it
        assert client.get("/healthz").status_code == 200
        assert shown() == first.certificate.read_text().strip()
        _replace(own, second)

        def renewed() -> bool:
            assert client.get("/healthz").status_code == 200  # before the server closes an idle connection
            return shown() == second.certificate.read_text().strip()

        until(renewed, 60)
        assert client.get("/healthz").status_code == 200
        assert before in running.server.server_state.connections  # the same connection
        assert httpx.get(f"{running.url}/healthz", verify=trusted).status_code == 200


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("clients") / "authority")


@contextmanager
def guarded(serve: Serve, authority: Authority, revocations: Path) -> Iterator[Running]:
    """A server that asks for certificates of `authority`."""
    own = authority.signed("server")
    with serve(
        tls_certificate=own.certificate,
        tls_key=own.key,
        tls_client_ca=authority.own.certificate,
        tls_client_crl=revocations,
    ) as running:
        yield running


def _context(authority: Authority, pair: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.own.certificate)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def _is_let_in(running: Running, authority: Authority, pair: Pair | None) -> bool:
    try:
        return httpx.get(f"{running.url}/healthz", verify=_context(authority, pair)).status_code == 200
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        return False


def test_a_revoked_client_certificate_is_refused_at_once(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    known, lost = authority.signed("known"), authority.signed("lost")
    stranger = Authority(tmp_path / "stranger").signed("of-another-authority")
    with guarded(serve, authority, authority.revocation_list()) as running:
        for pair, expected in ((known, True), (lost, True), (stranger, False), (None, False)):
            assert _is_let_in(running, authority, pair) is expected
        authority.revocation_list(lost)  # while the server runs
        assert not _is_let_in(running, authority, lost)
        assert _is_let_in(running, authority, known)
        authority.revocation_list(expired=True)  # nobody knows who was revoked since
        assert not _is_let_in(running, authority, known)
        authority.revocation_list()
        assert _is_let_in(running, authority, known)


def test_a_refused_client_certificate_is_in_the_audit_trail(
    serve: Serve, authority: Authority, tmp_path: Path, make_settings: MakeSettings
) -> None:
    known, lost = authority.signed("registered"), authority.signed("withdrawn")
    stranger = Authority(tmp_path / "stranger").signed("of-another-authority")
    trail = tmp_path / "audit.jsonl"

    def failures() -> list[dict[str, object]]:
        events = [json.loads(line) for line in trail.read_text().splitlines()]
        return [event for event in events if event["detail"] == "tls"]

    with (
        open_trail(make_settings(audit=f"file:{trail}")),
        guarded(serve, authority, authority.revocation_list(lost)) as running,
    ):
        assert _is_let_in(running, authority, known)
        for number, pair in enumerate((lost, stranger, None), start=1):
            assert not _is_let_in(running, authority, pair)
            until(lambda expected=number: len(failures()) == expected, 60)  # type: ignore[misc]
        with socket.create_connection(("127.0.0.1", running.port), 60) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            until(lambda: len(failures()) == 4, 60)
        assert _is_let_in(running, authority, known)
    (event,) = {(each["action"], each["outcome"], each["address"]) for each in failures()}
    assert event == ("login", "failure", "127.0.0.1")
    assert len(failures()) == 4


def _asked(
    running: Running, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool, ssl.SSLSession | None]:
    """One request on a connection that resumes `session`: whether it was resumed, and the new session."""
    with (
        socket.create_connection(("127.0.0.1", running.port), 60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as connection,
    ):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
            raise ConnectionError("no answer")
        return bool(connection.session_reused), connection.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_revoked_client_cannot_resume_its_session(
    serve: Serve, authority: Authority, version: ssl.TLSVersion
) -> None:
    lost = authority.signed(f"lost-{version.name}")
    context = _context(authority, lost)
    context.minimum_version = context.maximum_version = version
    with guarded(serve, authority, authority.revocation_list()) as running:
        _, session = _asked(running, context, None)
        assert _asked(running, context, session)[0], "sessions can be resumed, so this test can fail"
        authority.revocation_list(lost)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _asked(running, context, session)


def test_a_revocation_list_that_cannot_be_used(make_settings: MakeSettings, authority: Authority) -> None:
    own, certificate = authority.signed("unused"), authority.own.certificate
    files = {"tls_certificate": own.certificate, "tls_key": own.key}
    with pytest.raises(ConfigurationError, match="CXRSERVE_TLS_CLIENT_CRL needs CXRSERVE_TLS_CLIENT_CA"):
        check_transport(make_settings(**files, tls_client_crl=certificate))
    with pytest.raises(ConfigurationError, match="has no revocation list"):
        http_tls(make_settings(**files, tls_client_ca=certificate, tls_client_crl=certificate))
    with pytest.raises(ConfigurationError, match="cannot be used"):
        http_tls(make_settings(**files, tls_client_ca=certificate, tls_client_crl=own.key))
