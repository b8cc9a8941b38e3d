"""`cxrserve serve`: one uvicorn process around the application."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from cxrserve import __version__
from cxrserve.allocator import give_back_large_buffers
from cxrserve.api.app import create_app
from cxrserve.api.protocol import PatientProtocol
from cxrserve.api.service import Service
from cxrserve.errors import CxrserveError
from cxrserve.settings import Settings

_FAILED: Final = 2


def serve(settings: Settings) -> int:
    """Serve until told to stop; the exit status.

    The address is open at once, and /readyz tells when the model is loaded. A bundle or an engine that
    cannot be used ends the server with that message, and so does a device that fails for good.
    """
    give_back_large_buffers()
    configure_logging(settings.log_level)
    app = create_app(settings)
    server = Server(app, settings)
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn raises it again once it has shut down in order
        pass
    except SystemExit:  # uvicorn's way to say that the address could not be bound; it has logged why
        return _FAILED
    failure = server.service.failure
    if failure is not None:
        shown = failure.detail if isinstance(failure, CxrserveError) else type(failure).__name__
        sys.stderr.write(f"cxrserve cannot serve: {shown}\n")
        return _FAILED
    return 0


class Server(uvicorn.Server):
    """uvicorn, watching the service open: it says when it is ready and stops where that fails."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(_config(app, settings))
        self.service: Final[Service] = app.state.service
        self._said_ready = False

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self.service.ready and not self._said_ready:
            self._said_ready = True
            self._say_ready()
        return self.service.failure is not None or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; and connections that outstayed the time given to them are cut, not left open."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # they learn of it on the loop's next turn

    @property
    def address(self) -> str:
        """Where it listens; with the true port where a free one was asked for."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _say_ready(self) -> None:
        predictor = self.service.pipeline.predictor
        contract, choice = predictor.bundle.contract, predictor.choice
        sys.stdout.write(
            f"cxrserve {__version__} is ready on {self.address} with {contract.name} {contract.version} "
            f"(engine {choice.name} {predictor.precision})\n"
            f"Try: curl -F file=@chest.jpg {self.address}/predict\n"
        )
        sys.stdout.flush()


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    protocol: Any = partial(
        PatientProtocol, patience_s=settings.upload_timeout_s, linger_bytes=2 * settings.max_upload_bytes
    )
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # uvicorn's repeats paths and queries as they came; ours does not
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )


def configure_logging(level: str) -> None:
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("cxrserve").setLevel(level.upper())
    # It warns of every odd byte in a form; the refusal says enough.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
