"""Runs the application in one uvicorn process: `cxrserve serve`."""

from __future__ import annotations

import asyncio
import ipaddress
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
from cxrserve.api.connections import ConnectionLimits
from cxrserve.api.handshakes import record_failed_handshakes
from cxrserve.api.protocol import TimeLimitedProtocol
from cxrserve.api.service import Service
from cxrserve.audit.trail import open_trail
from cxrserve.errors import ConfigurationError, CxrserveError
from cxrserve.imaging.sandbox import hide_memory
from cxrserve.loopback import is_loopback
from cxrserve.server_tls import ServerTls, ServerTlsFiles
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.api")
_FAILED: Final = 2


def serve(settings: Settings) -> int:
    """Serve until a signal stops the server; return the exit status.

    The address is open immediately, and /readyz reports when the model is loaded. The server ends with a
    message if the bundle or the engine cannot be used, or if a device fails permanently.
    """
    give_back_large_buffers()
    configure_logging(settings.log_level)
    check_transport(settings)
    hide_memory()
    app = create_app(settings)
    server = Server(app, settings)
    with open_trail(settings):
        try:
            server.run()
        except KeyboardInterrupt:  # uvicorn raises it again after an orderly shutdown
            pass
        except SystemExit:  # uvicorn could not bind the address; it has logged why
            return _FAILED
    failure = server.service.failure
    if failure is not None:
        message = failure.detail if isinstance(failure, CxrserveError) else type(failure).__name__
        sys.stderr.write(f"cxrserve cannot serve: {message}\n")
        return _FAILED
    return 0


class Server(uvicorn.Server):
    """A uvicorn server that reports when the service is ready and stops when the service fails."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._tls: Final = http_tls(settings)
        super().__init__(_config(app, settings))
        self.service: Final[Service] = app.state.service
        self._ready_reported = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, with a TLS context that follows its files."""
        if self._tls is not None:
            self.config.ssl = self._tls.for_asyncio()
            record_failed_handshakes(asyncio.get_running_loop())
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; returns True to stop."""
        if self.service.ready and not self._ready_reported:
            self._ready_reported = True
            self._report_ready()
        return self.service.failure is not None or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as uvicorn does, then abort the connections that are still open."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # so that their connection_lost is called

    @property
    def address(self) -> str:
        """The URL it listens on, with the actual port."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        scheme = "https" if self.config.is_ssl else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def _report_ready(self) -> None:
        predictor = self.service.pipeline.predictor
        contract, choice = predictor.bundle.contract, predictor.choice
        sys.stdout.write(
            f"cxrserve {__version__} is ready on {self.address} with {contract.name} {contract.version} "
            f"(engine {choice.name} {predictor.precision})\n"
            f"Viewer: {self.address}/  API: {self.address}/docs\n"
            f'Try: curl -F file=@FILE "{self.address}/predict?heatmaps=none"\n'
            "No radiograph at hand? `cxrserve phantoms films/` draws some.\n"
        )
        sys.stdout.flush()


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    protocol: Any = partial(
        TimeLimitedProtocol,
        timeout_s=settings.upload_timeout_s,
        linger_bytes=2 * settings.max_upload_bytes,
        limits=ConnectionLimits(
            max_per_address=settings.max_connections_per_address, unlimited=_proxies(settings)
        ),
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
        access_log=False,  # uvicorn's log would contain paths and queries as they were sent
        proxy_headers=bool(settings.behind_proxy),
        forwarded_allow_ips=_proxies(settings),
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )


def http_tls(settings: Settings) -> ServerTls | None:
    """The TLS of the HTTP port; None where no certificate is set.

    Raises:
        ConfigurationError: a file is missing or invalid, or a setting is missing.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return ServerTls(
        ServerTlsFiles(
            port="the HTTP service",
            certificate=settings.tls_certificate,
            key=settings.tls_key,
            authorities=settings.tls_client_ca,
            revocations=settings.tls_client_crl,
            authorities_setting="CXRSERVE_TLS_CLIENT_CA",
            revocations_setting="CXRSERVE_TLS_CLIENT_CRL",
        )
    )


def check_transport(settings: Settings) -> None:
    """Check that no token and no patient data will cross a network in clear.

    Raises:
        ConfigurationError: the service would listen beyond this machine without TLS and without a named
            proxy, or the TLS settings or the proxies cannot be used.
    """
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise ConfigurationError("TLS for HTTP needs both CXRSERVE_TLS_CERTIFICATE and CXRSERVE_TLS_KEY.")
    if settings.tls_client_ca is not None and settings.tls_certificate is None:
        raise ConfigurationError("CXRSERVE_TLS_CLIENT_CA needs CXRSERVE_TLS_CERTIFICATE.")
    if settings.tls_client_crl is not None and settings.tls_client_ca is None:
        raise ConfigurationError("CXRSERVE_TLS_CLIENT_CRL needs CXRSERVE_TLS_CLIENT_CA.")
    for proxy in _proxies(settings):
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise ConfigurationError(
                f"CXRSERVE_BEHIND_PROXY has {proxy!r}, which is neither an address nor a network."
            ) from None
    protected = settings.tls_certificate is not None or settings.behind_proxy or settings.insecure_http
    if not protected and not is_loopback(settings.host):
        raise ConfigurationError(
            f"HTTP on {settings.host} would cross the network in clear. Set CXRSERVE_TLS_CERTIFICATE and "
            "CXRSERVE_TLS_KEY, or name the reverse proxy in CXRSERVE_BEHIND_PROXY; inside a container's "
            "private network, set CXRSERVE_INSECURE_HTTP=true."
        )


def _proxies(settings: Settings) -> list[str]:
    return [part.strip() for part in settings.behind_proxy.split(",") if part.strip()]


def configure_logging(level: str) -> None:
    """Log to stderr: this project at `level`, everything else from warnings on."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("cxrserve").setLevel(level.upper())
    # It warns about every unexpected byte in a form; the client's problem says enough.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
