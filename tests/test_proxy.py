"""The proxy configuration of deploy/nginx, started for real in front of a real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cxrserve.audit.trail import open_trail
from tests.conftest import Serve
from tests.orthanc import free_port
from tests.pacs.certificates import Authority
from tests.servers import Running
from tests.waiting import until

CONFIG = Path(__file__).resolve().parents[1] / "deploy" / "nginx" / "cxrserve.conf"
TOKEN = "token-0123456789abcdef"
CLIENT = "127.0.0.2"  # nginx connects from 127.0.0.1


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A service behind nginx.

    Attributes:
        client: speaks TLS, from an address of its own.
    """

    tls_port: int
    plain_port: int
    trusted: ssl.SSLContext
    client: httpx.Client
    audit: Path
    log: Path
    service: Running

    def raw(self, request: bytes) -> bytes:
        """Send bytes by TLS; the answer until the connection ends."""
        with (
            socket.create_connection(("127.0.0.1", self.tls_port), 60) as plain,
            self.trusted.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(request)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer


@pytest.fixture(scope="module")
def proxy(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    folder = tmp_path_factory.mktemp("nginx")
    authority = Authority(folder / "authority")
    pair = authority.signed("proxy")
    trusted = ssl.create_default_context(cafile=authority.own.certificate)
    trusted.set_alpn_protocols(["http/1.1"])
    tls_port, plain_port, audit = free_port(), free_port(), folder / "audit.jsonl"
    with (
        serve(token=TOKEN, behind_proxy="127.0.0.1", audit=f"file:{audit}") as service,
        open_trail(service.server.service.settings),
    ):
        text = CONFIG.read_text()
        for old, new in (
            ("127.0.0.1:8000", f"127.0.0.1:{service.port}"),
            ("listen 80;", f"listen 127.0.0.1:{plain_port};"),
            ("listen 443 ssl", f"listen 127.0.0.1:{tls_port} ssl"),
            ("/etc/nginx/cxrserve.pem", str(pair.certificate)),
            ("/etc/nginx/cxrserve.key", str(pair.key)),
            ("/var/log/nginx/cxrserve.log", str(folder / "access.log")),
        ):
            assert old in text
            text = text.replace(old, new)
        (folder / "cxrserve.conf").write_text(text)
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
            f"http {{\n{temporary}\ninclude {folder}/cxrserve.conf;\n}}\n"
        )
        command = [
            program,
            "-p",
            str(folder),
            "-e",
            str(folder / "error.log"),
            "-c",
            str(folder / "nginx.conf"),
        ]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "warn" not in checked.stderr
        process = subprocess.Popen(command)
        transport = httpx.HTTPTransport(verify=trusted, local_address=CLIENT)
        try:
            with httpx.Client(
                base_url=f"https://127.0.0.1:{tls_port}", transport=transport, timeout=60
            ) as client:
                proxy = Proxy(
                    tls_port=tls_port,
                    plain_port=plain_port,
                    trusted=trusted,
                    client=client,
                    audit=audit,
                    log=folder / "access.log",
                    service=service,
                )
                until(lambda: _listens(tls_port), 60)
                yield proxy
        finally:
            process.terminate()
            process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _head(*lines: str, path: str = "/predict") -> bytes:
    usual = (f"POST {path} HTTP/1.1", "Host: cxr.hospital.example", "Connection: close")
    return "\r\n".join([*usual, *lines, "", ""]).encode()


def test_a_prediction_goes_through_and_the_audit_has_the_client(proxy: Proxy, chest_jpeg: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "192.0.2.99", "X-Real-IP": "192.0.2.98"}
    answer = proxy.client.post("/predict?heatmaps=none", content=chest_jpeg, headers=headers)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["findings"]) == 14
    assert answer.headers["Strict-Transport-Security"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert "nginx/" not in answer.headers.get("Server", "")

    def predictions() -> list[dict[str, object]]:
        events = [json.loads(line) for line in proxy.audit.read_text().splitlines()]
        return [event for event in events if event["action"] == "predict"]

    until(lambda: bool(predictions()), 60)
    assert [event["address"] for event in predictions()] == [CLIENT]
    assert "192.0.2" not in proxy.audit.read_text()


def test_a_request_without_a_token_is_refused_before_its_body_comes(proxy: Proxy) -> None:
    """nginx would wait for all of the body if it buffered it."""
    answer = proxy.raw(_head(f"Content-Length: {50 * 2**20}"))
    assert answer.startswith(b"HTTP/1.1 401")


def test_limits(proxy: Proxy) -> None:
    head = (f"Authorization: Bearer {TOKEN}", f"Content-Length: {129 * 2**20}")
    assert proxy.raw(_head(*head)).startswith(b"HTTP/1.1 413")
    both = proxy.raw(_head("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
    assert both.startswith(b"HTTP/1.1 400")


def test_nothing_but_a_redirect_of_the_page_in_clear(proxy: Proxy) -> None:
    plain = f"http://127.0.0.1:{proxy.plain_port}"
    page = httpx.get(f"{plain}/", timeout=60)
    assert (page.status_code, page.headers["Location"]) == (301, "https://cxr.hospital.example/")
    for path in ("/predict", "/studies", "/dicom-web/studies"):
        assert httpx.post(plain + path, content=b"film", timeout=60).status_code == 403


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(proxy: Proxy) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", proxy.tls_port), 60) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


def test_the_log_names_no_patient(proxy: Proxy) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    before = len(proxy.log.read_text().splitlines())
    proxy.client.get("/studies/1.2.3.4.5?search=Doe", headers=headers)
    until(lambda: len(proxy.log.read_text().splitlines()) > before, 60)
    text = proxy.log.read_text()
    assert "1.2.3.4.5" not in text
    assert "Doe" not in text
    assert re.search(rf"^{re.escape(CLIENT)} \S+ GET 404 ", text, re.MULTILINE)


@pytest.mark.parametrize("command", [("serve",), ("pacs", "serve", "--archive", "archive")])
def test_beyond_this_machine_nothing_starts_without_tls_or_a_proxy(
    tiny_bundle: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cxrserve", *command, "--host", "0.0.0.0", "--port", "0"],
        env={**os.environ, "CXRSERVE_BUNDLE": str(tiny_bundle)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 2
    assert "HTTP on 0.0.0.0 would cross the network in clear" in done.stderr
