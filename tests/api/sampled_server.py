"""A server in a process of its own whose event loop is watched: `python -m tests.api.sampled_server`.

Settings come from CXRSERVE_*. Every few milliseconds the loop should wake a sleeper; how much later it did is
its lag. After SIGINT it prints one JSON line: pairs of (time.time(), lag in seconds). With `--bare` there is
no server, only the sleeper: what the machine itself keeps a loop waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from typing import Final

from cxrserve.api.app import create_app
from cxrserve.api.server import Server
from cxrserve.settings import Settings

PERIOD_S: Final = 0.005
Lags = list[tuple[float, float]]


async def sample(lags: Lags) -> None:
    """Note this loop's lag, until cancelled."""
    while True:
        due = time.perf_counter() + PERIOD_S
        await asyncio.sleep(PERIOD_S)
        lags.append((time.time(), time.perf_counter() - due))


class SampledServer(Server):
    """The server that serves, beside a sleeper."""

    def __init__(self, settings: Settings, lags: Lags) -> None:
        super().__init__(create_app(settings), settings)
        self._lags = lags

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start sampling, then serving."""
        self._sampling = asyncio.create_task(sample(self._lags))
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop both."""
        self._sampling.cancel()
        await super().shutdown(sockets)


async def bare(lags: Lags) -> None:
    """The sleeper alone, until SIGINT."""
    sampling = asyncio.create_task(sample(lags))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, sampling.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await sampling


def main() -> None:
    """Sample until SIGINT, then print."""
    lags: Lags = []
    with contextlib.suppress(KeyboardInterrupt):
        if "--bare" in sys.argv:
            asyncio.run(bare(lags))
        else:
            SampledServer(Settings(), lags).run()
    sys.stdout.write(json.dumps(lags) + "\n")


if __name__ == "__main__":
    main()
