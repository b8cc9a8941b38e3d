"""HTTP by hand, for requests that no decent client would send."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import closing

PATH = "/predict?heatmaps=none"


def head(*headers: str, method: str = "POST", path: str = PATH) -> bytes:
    """A request's head; `headers` are whole lines."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1")


def connected(port: int, timeout_s: float = 30) -> closing[socket.socket]:
    """A connection to the loopback."""
    return closing(socket.create_connection(("127.0.0.1", port), timeout_s))


def status(peer: socket.socket) -> int:
    """The status of the next answer; 0 where the connection ends without one."""
    got = b""
    while b"\r\n" not in got:
        try:
            more = peer.recv(4096)
        except ConnectionResetError:
            return 0
        if not more:
            return 0
        got += more
    return int(got.split(b" ", 2)[1])


def rest(peer: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    got = b""
    while more := peer.recv(65536):
        got += more
    return got


def asked(port: int, first: bytes, chunks: Iterable[bytes] = (), timeout_s: float = 30) -> int:
    """Send `first` and then `chunks` for as long as the server listens; the status of its answer."""
    with connected(port, timeout_s) as peer:
        try:
            peer.sendall(first)
            for chunk in chunks:
                peer.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent: that is the answer to be read
        return status(peer)


def form(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """A form of (Content-Disposition, content)."""
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return body + f"--{boundary}--\r\n".encode()


FORM = "Content-Type: multipart/form-data; boundary=b"
