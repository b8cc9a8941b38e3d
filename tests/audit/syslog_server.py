"""A syslog server over TLS (RFC 5425) that collects what it is sent."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.pacs.certificates import Authority, Pair

_FRAME: Final = re.compile(rb"(\d{1,9}) ")


@dataclass
class SyslogServer:
    """A server that runs.

    Attributes:
        messages: the syslog messages, in the order they came.
    """

    port: int
    messages: list[bytes] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int, timeout_s: float = 30) -> list[bytes]:
        """All messages, once there are `count` of them; a moment later, so that one too many is seen."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.messages) >= count, timeout_s)
        time.sleep(0.2)
        return list(self.messages)


@contextmanager
def syslog_server(authority: Authority, pair: Pair, port: int = 0) -> Iterator[SyslogServer]:
    """Run a server that wants a certificate of `authority` while the block lasts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(authority.own.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", port))
    server = SyslogServer(listener.getsockname()[1])
    peers: list[ssl.SSLSocket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with contextlib.suppress(OSError):
                    peer = context.wrap_socket(plain, server_side=True)
                    peers.append(peer)
                    threading.Thread(target=_read, args=(server, peer), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()


def _read(server: SyslogServer, peer: ssl.SSLSocket) -> None:
    data = b""
    with contextlib.suppress(OSError):
        while more := peer.recv(65536):
            data += more
            while (frame := _FRAME.match(data)) and len(data) >= frame.end() + int(frame[1]):
                end = frame.end() + int(frame[1])
                with server.arrived:
                    server.messages.append(data[frame.end() : end])
                    server.arrived.notify_all()
                data = data[end:]
