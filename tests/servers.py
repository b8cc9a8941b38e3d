"""A real server in a thread: uvicorn on a free port of the loopback, with its decode workers and engines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cxrserve.api.app import create_app
from cxrserve.api.server import Server
from cxrserve.settings import Settings

_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A server that runs.

    Attributes:
        url: its base, e.g. http://127.0.0.1:40123, without a slash at the end.
        port: its TCP port, for tests that speak to the socket themselves.
        server: the uvicorn server; `server.service` is what it serves.
    """

    url: str
    port: int
    server: Server


@contextmanager
def running(settings: Settings, *, until_ready: bool = True) -> Iterator[Running]:
    """Run a server with `settings` while the block lasts; by default it is ready when the block begins."""
    with running_server(Server(create_app(settings), settings), until_ready=until_ready) as started:
        yield started


@contextmanager
def running_server(server: Server, *, until_ready: bool = True) -> Iterator[Running]:
    """Run `server`, made by somebody else, while the block lasts."""
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        _wait(lambda: server.started, thread)
        if until_ready:
            _wait(lambda: server.service.ready, thread)
        yield Running(url=server.address, port=int(server.address.rpartition(":")[2]), server=server)
    finally:
        server.should_exit = True
        thread.join(_PATIENCE_S)
        assert not thread.is_alive(), "the server did not stop"


def _wait(done: Callable[[], bool], thread: threading.Thread) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not done():
        assert thread.is_alive(), "the server stopped before it was ready"
        assert time.monotonic() < until, f"the server was not ready within {_PATIENCE_S:g} s"
        time.sleep(0.01)
