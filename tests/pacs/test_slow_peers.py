"""A PACS that is sick or hostile holds no exchange for ever, and cannot fill the memory."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import DimsePeer, PullServer
from cxrserve.pacs import http_limits
from cxrserve.pacs.destinations import destinations_of
from cxrserve.pacs.echo import echo
from cxrserve.pacs.pull import radiographs, retrieve
from cxrserve.pacs.web import session
from tests.pacs.certificates import Authority
from tests.pacs.conftest import new_chest
from tests.pacs.test_destinations import accepting

# pynetdicom drops sockets of associations that failed, and leaves the closing to Python.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"
Send = Callable[[bytes], object]


@contextmanager
def serving(respond: Callable[[Send, threading.Event], None]) -> Iterator[str]:
    """An HTTP server that responds as `respond` does, which ends when its event is set; its address."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        respond(connection.sendall, stop)
                    except OSError:  # the client has closed the connection: what is hoped for
                        continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/dicom-web"
        finally:
            stop.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def dripping(head: bytes, drop: bytes = b"x") -> Callable[[Send, threading.Event], None]:
    """Responds with `head`, then one `drop` after the other, each long before the timeout of a read."""

    def respond(send: Send, stop: threading.Event) -> None:
        send(head)
        while not stop.wait(0.05):
            send(drop)

    return respond


@pytest.mark.parametrize(
    "respond",
    [
        dripping(b"HTTP/1.1 200 OK\r\nX: "),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        dripping(HEADERS + b"Content-Length: 100000\r\n\r\n", b" "),
        dripping(HEADERS + b"Connection: close\r\n\r\n", b" "),
        dripping(HEADERS + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        dripping(HEADERS + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    ],
    ids=["header", "headers", "body", "body-without-length", "chunks", "chunk-extension"],
)
def test_a_server_that_drips_is_left(respond: Callable[[Send, threading.Event], None]) -> None:
    with serving(respond) as url, pytest.raises(DeliveryError) as refused:
        list(radiographs(PullServer(url=url, timeout_s=0.5), StudyInstanceUID="1.2"))
    assert refused.value.retryable


def test_an_object_that_drips_is_left() -> None:
    head = b'HTTP/1.1 200 OK\r\nContent-Type: multipart/related; type="application/dicom"; boundary=x\r\n\r\n'
    late = pytest.raises(DeliveryError, match="cannot be reached, or does not answer")
    with serving(dripping(head)) as url, late:
        retrieve(PullServer(url=url, timeout_s=0.5), "1", "2", "3", max_bytes=2**20)


def test_a_body_that_comes_fast_enough_may_take_longer_than_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The deadline moves with the bytes: 40 pieces in at least two seconds, at a timeout of one."""
    monkeypatch.setattr(http_limits, "MIN_BYTES_PER_S", 1024)

    def respond(send: Send, stop: threading.Event) -> None:
        send(HEADERS + b"Content-Length: 2621440\r\n\r\n")
        for _ in range(40):
            stop.wait(0.05)
            send(b" " * 65536)

    with serving(respond) as url:
        answer = session(PullServer(url=url, timeout_s=1), 2**24).get(url)
    assert len(answer.content) == 2621440


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_without_end_is_left_at_the_limit(encoding: str) -> None:
    piece = b" " * 2**20 if encoding == "identity" else gzip.compress(b" " * 2**26)
    sent = 0

    def respond(send: Send, stop: threading.Event) -> None:
        nonlocal sent
        send(HEADERS + b"Content-Encoding: " + encoding.encode() + b"\r\n\r\n")
        while not stop.is_set():
            send(piece)
            sent += len(piece)

    with serving(respond) as url, pytest.raises(DeliveryError, match="too many bytes"):
        list(radiographs(PullServer(url=url, timeout_s=30), StudyInstanceUID="1.2"))
    assert sent < 64 * 2**20


def test_an_object_beyond_the_limit_is_not_read_on() -> None:
    def respond(send: Send, stop: threading.Event) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n\r\n" + bytes(200_000))

    with serving(respond) as url, pytest.raises(DeliveryError, match="more than 100000 bytes"):
        retrieve(PullServer(url=url), "1", "2", "3", max_bytes=100_000)


def test_a_watch_whose_time_is_up_shuts_a_new_connection_too() -> None:
    watch = http_limits._Watch()
    watch.expired = True
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watch.add(ours)
        assert theirs.recv(1) == b""


def test_tls_is_watched_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.signed("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with context.wrap_socket(connection, server_side=True) as encrypted:
                encrypted.recv(65536)
                try:
                    dripping(HEADERS + b"Content-Length: 100000\r\n\r\n")(encrypted.sendall, stop)
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://localhost:{server.getsockname()[1]}/"
        try:
            with pytest.raises(requests.RequestException):
                session(PullServer(url=url, ca_file=authority.own.certificate, timeout_s=0.5), 2**20).get(url)
        finally:
            stop.set()
            thread.join()


def test_an_association_accept_of_4_gb_is_not_read() -> None:
    sent = 0

    def respond(send: Send, stop: threading.Event) -> None:
        nonlocal sent
        send(struct.pack(">BxL", 0x02, 0xFFFFFFF0))
        while not stop.is_set():
            send(bytes(2**20))
            sent += 2**20

    with serving(respond) as url, pytest.raises(DeliveryError):
        echo(dicom_peer(url), "CXRSERVE")
    assert sent < 64 * 2**20


def test_a_dicom_peer_that_takes_a_byte_now_and_then_is_left(tmp_path: Path) -> None:
    """A peer whose reading is enough for the timeout of one write, and not for the least rate."""
    done = threading.Event()

    def take(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(accepting())
        while not done.wait(0.05) and connection.recv(64):
            pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def accept() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                take(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        peer = dicom_peer(f"http://127.0.0.1:{server.getsockname()[1]}/")
        file = new_chest(tmp_path / "large.dcm", Rows=3000, Columns=2500, PixelData=b"\0" * 15_000_000)
        try:
            with pytest.raises(DeliveryError):
                destinations_of({"peer": peer}, "CXRSERVE")["peer"].send([file])
            assert not done.is_set()  # it was the station that ended it
        finally:
            done.set()
            thread.join()


def dicom_peer(url: str) -> DimsePeer:
    """The peer at the port of `url`."""
    port = urlsplit(url).port
    return DimsePeer(protocol="dimse", ae_title="PEER", host="127.0.0.1", port=port or 0, timeout_s=1)
