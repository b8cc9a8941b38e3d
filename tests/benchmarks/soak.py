"""A soak: hours of open-loop load, memory watched all along. `python -m tests.benchmarks.soak --minutes 60`.

Native-size phantoms, JPEG and DICOM in turn, one request in ten `stat`, arrive at random at a set share of
the rate that the service answers when saturated. Prints for each minute what was answered and how fast, and
at the end the percentiles, what was not answered, and the slope of resident memory: of each process, and of
all of them in percent of the whole for an hour. The first tenth of the time is left out of the slope: buffers
grow to the largest image then.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from cxrserve.bench.load import Client, Level, closed_loop, open_loop
from cxrserve.bench.service import cxrserve, free_port, started
from tests.benchmarks.radiographs import native_images

ROOT: Final = Path(__file__).resolve().parents[2]
WORK: Final = ROOT / "runs" / "benchmark"
_SAMPLE_S: Final = 2.0
_WARM_SHARE: Final = 0.1
_STAT_SHARE: Final = 0.1
MIB: Final = 2**20


@dataclass
class Memory:
    """Resident memory of a process and its descendants over time.

    Attributes:
        samples: (seconds since the start, bytes by process id).
    """

    pid: int
    samples: list[tuple[float, dict[int, int]]] = field(default_factory=list)

    def watch(self, done: threading.Event) -> None:
        """Sample until `done`."""
        begun, parent = time.perf_counter(), psutil.Process(self.pid)
        while not done.wait(_SAMPLE_S):
            resident: dict[int, int] = {}
            for process in (parent, *parent.children(recursive=True)):
                try:
                    resident[process.pid] = process.memory_info().rss
                except psutil.NoSuchProcess:  # a decode worker was replaced
                    continue
            self.samples.append((time.perf_counter() - begun, resident))

    def slopes(self) -> dict[str, float]:
        """MiB an hour of each process that lived throughout, and percent an hour of all together."""
        after = self.samples[int(len(self.samples) * _WARM_SHARE) :]
        hours = np.array([second / 3600 for second, _ in after])
        lasting = set.intersection(*(set(resident) for _, resident in after))
        slopes = {
            f"MiB/h of process {pid}": _slope(hours, [resident[pid] / MIB for _, resident in after])
            for pid in sorted(lasting)
        }
        whole = [sum(resident.values()) / MIB for _, resident in after]
        slopes["% an hour of all"] = 100 * _slope(hours, whole) / float(np.mean(whole))
        slopes["MiB of all at the start"], slopes["MiB of all at the end"] = whole[0], whole[-1]
        slopes["MiB of all at the most"] = max(sum(resident.values()) / MIB for _, resident in self.samples)
        return slopes


def _slope(hours: np.ndarray, values: list[float]) -> float:
    return float(np.polyfit(hours, values, 1)[0])


def _capacity(url: str, films: list[bytes], seconds: float) -> float:
    """Images a second at saturation."""
    with Client(url, "/predict?heatmaps=all") as client:
        closed_loop(client, films, clients=3, seconds=seconds / 4)  # warm
        return closed_loop(client, films, clients=3, seconds=seconds).rate


def _minute(url: str, films: list[bytes], rate: float, seconds: float, seed: int) -> list[Level]:
    """One minute of load: routine, and beside it a little stat."""
    parts = (("routine", 1 - _STAT_SHARE), ("stat", _STAT_SHARE))

    def load(part: tuple[str, float]) -> Level:
        priority, share = part
        with Client(url, f"/predict?heatmaps=all&priority={priority}") as client:
            return open_loop(
                client, films, rate=rate * share, seconds=seconds, seed=seed + (priority == "stat")
            )

    with ThreadPoolExecutor(len(parts)) as threads:
        return list(threads.map(load, parts))


def _told(levels: list[Level]) -> dict[str, object]:
    sent = tuple(one for level in levels for one in level.sent)
    whole = Level(asked_rate=None, seconds=sum(level.seconds for level in levels), sent=sent)
    told: dict[str, object] = {
        "requests": len(sent),
        "statuses": {str(status): count for status, count in whole.statuses.items()},
    }
    for status in whole.statuses:
        told[f"seconds of {status}: p50 p95 p99 max"] = [
            round(whole.percentile(percent, status=status), 3) for percent in (50, 95, 99, 100)
        ]
    return told


def soak(bundle: Path, *, minutes: float, load: float) -> dict[str, object]:
    """Load `bundle` with `load` (1 is saturation) for `minutes`; the figures."""
    films = [film.read_bytes() for film in native_images(WORK / "films")]
    port = free_port()
    with started(cxrserve(bundle, port), port=port, ready="/readyz") as service:
        memory, done = Memory(service.pid), threading.Event()
        capacity = _capacity(service.url, films, seconds=min(30.0, minutes * 15))
        print(f"capacity {capacity:.2f} images/s; load {load:.0%} of it for {minutes:g} min", flush=True)
        watcher = threading.Thread(target=memory.watch, args=(done,))
        watcher.start()
        stat, routine = [], []
        try:
            until = time.perf_counter() + minutes * 60
            for number in range(10**6):
                left_s = until - time.perf_counter()
                if left_s < 1:
                    break
                levels = _minute(service.url, films, load * capacity, min(60.0, left_s), 2 * number)
                routine.append(levels[0])
                stat.append(levels[1])
                print(f"minute {number + 1}: {json.dumps(_told(levels))}", flush=True)
        finally:
            done.set()
            watcher.join()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} cores",
        "bundle": bundle.name,
        "minutes": minutes,
        "load": load,
        "capacity_images_s": round(capacity, 3),
        "routine": _told(routine),
        "stat": _told(stat),
        "memory": {what: round(value, 2) for what, value in memory.slopes().items()},
    }


def main() -> None:
    """Soak, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path, default=WORK / "haque2021-untrained")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--load", type=float, default=0.5, help="share of the capacity; 2 is overload")
    asked = parser.parse_args()
    print(json.dumps(soak(asked.bundle, minutes=asked.minutes, load=asked.load), indent=1))


if __name__ == "__main__":
    main()
