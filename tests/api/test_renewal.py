"""A renewed certificate of HTTPS is used without a restart, and open connections continue."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import httpx

from tests.conftest import Serve
from tests.pacs.certificates import Authority, Pair
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
