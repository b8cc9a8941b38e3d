"""Measures overload: how long accepted requests wait, and how fast the others are refused.

`python -m tests.benchmarks.overload` starts it twice, as it comes and with a limit on the wait that is a
share of the time one image takes, and sends native-size phantoms, JPEG and DICOM in turn, at 50, 100 and
200 % of the capacity it has found. Writes a dated note. At 200 % a prober asks in three ways, twice a second,
how soon a refusal is known: as curl does with large files (`Expect: 100-continue`), as most HTTP libraries
do, which send all of 15 MB before they read, and GET /healthz for what the machine itself takes.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import psutil
from rich.console import Console

from cxrserve.bench import report
from cxrserve.bench.load import REFUSED, Client, Spacing, open_loop
from cxrserve.bench.measure import Measured, Plan, measure
from cxrserve.bench.service import Started, cxrserve, free_port, started
from tests.benchmarks.main_job import NOTES, WORK, cpu, full_size_bundle
from tests.benchmarks.radiographs import native_images

_PAUSE_S: Final = 0.5
_PATIENCE_S: Final = 60.0
_HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass
class Prober:
    """Asks one service again and again until told to stop; only refusals are timed.

    Attributes:
        seconds: until the refusal was read, by the way it was asked for; of /healthz, until any answer.
    """

    address: tuple[str, int]
    film: bytes
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"healthz": [], "expect": [], "send all": []}
    )

    def work(self, way: str, done: threading.Event) -> None:
        """Ask in one way until `done`."""
        sent = {
            "healthz": _HEALTH,
            "expect": self._head("Expect: 100-continue\r\n"),
            "send all": self._head() + self.film,
        }
        while not done.wait(_PAUSE_S):
            self._ask(way, sent[way], 200 if way == "healthz" else REFUSED)

    def as_json(self) -> dict[str, Any]:
        """Counts and percentiles in seconds."""
        return {
            way: {"count": len(taken), **{f"p{q}_s": float(np.percentile(taken, q)) for q in (50, 95, 99)}}
            for way, taken in self.seconds.items()
            if taken
        }

    def _head(self, more: str = "") -> bytes:
        head = (
            "POST /predict?heatmaps=none HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(self.film)}\r\n{more}\r\n"
        )
        return head.encode()

    def _ask(self, way: str, sent: bytes, wanted: int) -> None:
        begun = time.perf_counter()
        with contextlib.suppress(OSError), socket.create_connection(self.address, _PATIENCE_S) as peer:
            peer.sendall(sent)
            status = int(peer.recv(4096).split(b" ", 2)[1])
            if status == wanted:
                self.seconds[way].append(time.perf_counter() - begun)


@contextlib.contextmanager
def probed(service: Started, film: bytes) -> Iterator[Prober]:
    """A prober at work while the block lasts."""
    parts = urlsplit(service.url)
    prober, done = Prober((parts.hostname or "127.0.0.1", parts.port or 80), film), threading.Event()
    threads = [threading.Thread(target=prober.work, args=(way, done)) for way in prober.seconds]
    for thread in threads:
        thread.start()
    try:
        yield prober
    finally:
        done.set()
        for thread in threads:
            thread.join()


def main(bundle: Path, seconds: float, arrivals: Spacing, tight: float) -> None:
    """Measure, print the tables, write the note.

    Args:
        tight: the second service's limit on the wait, as a share of the first one's time for one image.
    """
    console = Console()
    files = native_images(WORK / "native")
    services: list[dict[str, Any]] = []
    usual, refusals = overloaded(bundle, files, seconds, arrivals, console)
    services.append(usual.as_json() | {"refusals": refusals})
    limit_s = tight * usual.sequential.percentile(50)
    strict, refusals = overloaded(bundle, files, seconds, arrivals, console, f"max_wait_s={limit_s:.3f}")
    services.append(strict.as_json() | {"refusals": refusals})
    facts = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{cpu()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load_average_at_the_end": os.getloadavg(),
        "bundle": bundle.name,
        "films": [f"{file.name}, {file.stat().st_size / 1e6:.1f} MB" for file in files],
        "arrivals": arrivals,
    }
    note = NOTES / f"overload-{facts['date']}.json"
    note.write_text(json.dumps(facts | {"services": services}, indent=1) + "\n", encoding="utf-8")


def overloaded(
    bundle: Path, files: Sequence[Path], seconds: float, arrivals: Spacing, console: Console, *sets: str
) -> tuple[Measured, dict[str, Any]]:
    """One service with its settings, at three levels; and what the prober saw at the last."""
    films, port = [file.read_bytes() for file in files], free_port()
    options = [part for each in sets for part in ("--set", each)]
    name = ", ".join(("cxrserve", *sets))

    def told(what: str, part_s: float) -> None:
        console.print(f"{what}, {part_s:.0f} s", style="dim")

    with started(cxrserve(bundle, port, *options), port=port, ready="/readyz") as service:
        calm = Plan(shares=(50, 100), seconds=seconds, spacing=arrivals)
        measured = measure(service, name, films, calm, told)
        rate = 2 * measured.saturated.rate
        told(f"{name}: 200 %", seconds)
        with Client(service.url, calm.path) as client, probed(service, max(films, key=len)) as prober:
            measured.levels[200] = open_loop(
                client, films, rate=rate, seconds=seconds, spacing=arrivals, seed=200
            )
    refusals = prober.as_json()
    console.print(report.levels(measured), refusals)
    return measured, refusals


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="by default one of full size, untrained")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each level")
    parser.add_argument("--arrivals", choices=("poisson", "even"), default="poisson")
    parser.add_argument("--tight", type=float, default=0.75, help="second limit, in times of one image")
    arguments = parser.parse_args()
    main(
        (arguments.bundle or full_size_bundle()).resolve(),
        arguments.seconds,
        arguments.arrivals,
        arguments.tight,
    )
