"""Requests that mean harm, or come from broken clients: each costs itself, and the next is answered."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import struct
import time
from collections.abc import Iterator

import httpx
import pytest

from tests import radiographs
from tests.api import raw
from tests.conftest import Serve
from tests.servers import Running

_MB = 2**20


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[Running]:
    """A server with little patience and room, so that its limits are met soon."""
    with serve(upload_timeout_s=2, max_upload_bytes=4 * _MB, max_waiting=2) as running:
        yield running


@pytest.fixture
def still_fine(guarded: Running, chest_jpeg: bytes) -> Iterator[None]:
    """Whatever the test does: afterwards the server answers a good request, from within its limits."""
    yield
    until = time.monotonic() + 20
    while (response := httpx.post(f"{guarded.url}/predict", content=chest_jpeg)).status_code == 503:
        assert time.monotonic() < until, "places are lost"
        time.sleep(0.05)
    assert response.status_code == 200


pytestmark = pytest.mark.usefixtures("still_fine")


@pytest.mark.parametrize(
    "length", ["-1", "abc", "1e3", "0x10", "1, 2", "99999999999999999999999", "1\r\nContent-Length: 2"]
)
def test_a_content_length_that_is_none(guarded: Running, length: str) -> None:
    assert raw.asked(guarded.port, raw.head(f"Content-Length: {length}") + b"abc") in (400, 413)


def test_a_content_length_that_promises_more_than_comes(guarded: Running, chest_jpeg: bytes) -> None:
    head = raw.head(f"Content-Length: {len(chest_jpeg) + 10}")
    assert raw.asked(guarded.port, head + chest_jpeg) == 408


def test_a_content_length_that_promises_less_than_comes(guarded: Running, chest_jpeg: bytes) -> None:
    with raw.connected(guarded.port) as peer:
        peer.sendall(raw.head(f"Content-Length: {len(chest_jpeg) - 2000}") + chest_jpeg)
        answers = raw.rest(peer)
    # The first is a damaged image; what is left over is no request.
    assert b"HTTP/1.1 422 " in answers
    assert b"HTTP/1.1 408 " in answers or b"HTTP/1.1 400 " in answers


def test_length_and_chunks_together(guarded: Running, chest_jpeg: bytes) -> None:
    """Request smuggling (RFC 9112, 6.1): refused, and what follows is not read as a second request."""
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for head in (
        raw.head("Content-Length: 5", "Transfer-Encoding: chunked"),
        raw.head("Transfer-Encoding: chunked", "Content-Length: 5"),
    ):
        with raw.connected(guarded.port) as peer:
            peer.sendall(head + smuggled)
            answers = raw.rest(peer)
        assert answers.count(b"HTTP/1.1 ") == 1
        assert answers.startswith(b"HTTP/1.1 400 ")


def test_no_length_and_no_chunks(guarded: Running) -> None:
    """Then there is no body (RFC 9112, 6.3)."""
    assert raw.asked(guarded.port, raw.head("Content-Type: image/jpeg")) == 400


def test_a_body_without_end(guarded: Running) -> None:
    block = b"10000\r\n" + bytes(65536) + b"\r\n"
    assert raw.asked(guarded.port, raw.head("Transfer-Encoding: chunked"), itertools.repeat(block)) == 413


def test_a_client_that_goes_on_after_its_refusal_is_cut_off(guarded: Running) -> None:
    block = b"10000\r\n" + bytes(65536) + b"\r\n"
    until = time.monotonic() + 20
    with raw.connected(guarded.port) as peer:
        peer.sendall(raw.head("Transfer-Encoding: chunked"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                assert time.monotonic() < until, "its body is read for ever"
                peer.sendall(block)
                time.sleep(0.01)


def test_one_byte_chunks(server: Running, chest_jpeg: bytes) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in chest_jpeg) + b"0\r\n\r\n"
    assert raw.asked(server.port, raw.head("Transfer-Encoding: chunked") + body) == 200


@pytest.mark.parametrize("chunk", [b"-1\r\n", b"zz\r\n", b"FFFFFFFFFFFFFFFFFFFFF\r\n", b"1" * 70000])
def test_broken_chunks(guarded: Running, chunk: bytes) -> None:
    assert raw.asked(guarded.port, raw.head("Transfer-Encoding: chunked"), [chunk]) in (0, 400)


def test_a_form_in_one_byte_pieces(server: Running, chest_jpeg: bytes) -> None:
    body = raw.form(('form-data; name="file"; filename="x"', chest_jpeg))
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert raw.asked(server.port, raw.head(raw.FORM, "Transfer-Encoding: chunked") + pieces) == 200


def test_clients_that_leave(guarded: Running, chest_jpeg: bytes) -> None:
    head = raw.head(f"Content-Length: {len(chest_jpeg)}")
    for sent in (b"", head[:20], head, head + chest_jpeg[:1000], head + chest_jpeg):
        for reset in (False, True):
            with raw.connected(guarded.port) as peer:
                peer.sendall(sent)
                if reset:  # RST instead of FIN
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_client_that_never_takes_its_answer(guarded: Running, chest_jpeg: bytes) -> None:
    head = raw.head(f"Content-Length: {len(chest_jpeg)}", path="/predict?heatmaps=all")
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", guarded.port))
        peer.sendall(head + chest_jpeg)
        connections = guarded.server.server_state.connections
        until = time.monotonic() + 20
        while connections:
            assert time.monotonic() < until, "the connection is kept for ever"
            time.sleep(0.05)


def test_100_000_parts(guarded: Running) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n\r\n'
    assert (
        raw.asked(guarded.port, raw.head(raw.FORM, "Transfer-Encoding: chunked"), chunked(part, 100_000))
        == 400
    )
    study = raw.head(raw.FORM, "Transfer-Encoding: chunked", path="/predict/study")
    assert raw.asked(guarded.port, study, chunked(part, 100_000)) == 413


@pytest.mark.parametrize(
    ("disposition", "status"),
    [
        ('form-data; name="file"', 413),
        ('form-data; name="comment"', 400),
        ("form-data", 400),
        ("", 400),
    ],
)
def test_a_field_of_a_gigabyte(guarded: Running, disposition: str, status: int) -> None:
    first = f"--b\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
    pieces = itertools.chain(chunked(first, 1), chunked(bytes(_MB), 1024))
    assert raw.asked(guarded.port, raw.head(raw.FORM, "Transfer-Encoding: chunked"), pieces) == status


def chunked(piece: bytes, times: int) -> Iterator[bytes]:
    block = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    at_once = max(1, 65536 // len(block))
    for done in range(0, times, at_once):
        yield block * min(at_once, times - done)


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "/etc/passwd",
        "C:\\x",
        "a\0b",
        "x" * 10_000,
        "Müller^Änne",
        "患者",
        "a;b=c",
        '\\"',
        "%00",
        "",
    ],
)
def test_odd_file_names_are_harmless(guarded: Running, chest_jpeg: bytes, name: str) -> None:
    body = raw.form((f'form-data; name="file"; filename="{name}"', chest_jpeg))
    assert raw.asked(guarded.port, raw.head(raw.FORM, f"Content-Length: {len(body)}") + body) == 200


def test_headers_of_a_part_have_limits(guarded: Running) -> None:
    long = raw.form(('form-data; name="file"; filename="' + "x" * 100_000 + '"', b"x"))
    many = b"--b\r\n" + b"X-A: b\r\n" * 100_000
    for body in (long, many):
        assert raw.asked(guarded.port, raw.head(raw.FORM, f"Content-Length: {len(body)}"), [body]) == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--\r\n",
        b"no boundary at all",
        b"\r\n" * 100_000,
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nnever closed',
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nalmost\r\n--b',
        b"--b\r\nno colon\r\n\r\nx\r\n--b--",
    ],
)
def test_broken_forms(guarded: Running, body: bytes) -> None:
    assert raw.asked(guarded.port, raw.head(raw.FORM, f"Content-Length: {len(body)}") + body) == 400


@pytest.mark.parametrize(
    "first", [b"", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n']
)
def test_padding_without_end_around_a_form(guarded: Running, first: bytes) -> None:
    pieces = itertools.chain(chunked(first, 1) if first else (), chunked(b"\r\n" * 32_000, 16_000))
    assert raw.asked(guarded.port, raw.head(raw.FORM, "Transfer-Encoding: chunked"), pieces) == 413


@pytest.mark.parametrize("boundary", ["x" * 10_000, "\x7f\x80", "'\"", "--"])
def test_odd_boundaries(guarded: Running, boundary: str) -> None:
    head = raw.head(f"Content-Type: multipart/form-data; boundary={boundary}", "Content-Length: 4")
    assert raw.asked(guarded.port, head + b"----") == 400


def test_a_gzip_bomb_is_not_opened(guarded: Running) -> None:
    bomb = gzip.compress(bytes(200 * _MB), 9)
    head = raw.head("Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
    assert raw.asked(guarded.port, head + bomb) == 415
    assert raw.asked(guarded.port, raw.head("Transfer-Encoding: gzip, chunked"), [bomb]) in (400, 501)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS handshake
        b"\0" * 1000,
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
        b"GET / HTTP/1.1\r\n\r\n",  # no Host (RFC 9112, 3.2)
    ],
)
def test_what_is_not_http(guarded: Running, sent: bytes) -> None:
    with raw.connected(guarded.port) as peer:
        peer.sendall(sent)
        try:
            answer = raw.rest(peer)
        except ConnectionResetError:
            return
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


def test_ranges_and_hosts_change_nothing(guarded: Running, chest_jpeg: bytes) -> None:
    ranges = {"Range": "bytes=" + ",".join(f"{n}-" for n in range(1000))}
    assert httpx.get(f"{guarded.url}/docs", headers=ranges).status_code == 200
    page = httpx.get(f"{guarded.url}/").content
    for host in ("evil.example", "127.0.0.1:1@evil", "x" * 5000):
        response = httpx.get(f"{guarded.url}/", headers={"Host": host})
        assert response.status_code == 200
        assert response.content == page


def test_requests_in_a_pipeline(guarded: Running, chest_jpeg: bytes) -> None:
    request = raw.head(f"Content-Length: {len(chest_jpeg)}") + chest_jpeg
    last = raw.head("Connection: close", method="GET", path="/healthz")
    with raw.connected(guarded.port) as peer:
        peer.sendall(request + request + last)
        assert raw.rest(peer).count(b"HTTP/1.1 200 OK") == 3


def test_a_large_picture_in_small_room(guarded: Running) -> None:
    assert raw.asked(guarded.port, raw.head("Content-Length: 3000"), [radiographs.png()[:3000]]) == 422
