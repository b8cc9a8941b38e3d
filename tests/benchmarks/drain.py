"""Measures how fast the station works through its queue, beside the rate of its engines alone.

    python -m tests.benchmarks.drain --bundle runs/benchmark/haque2021-untrained

Full-size images (2500 × 3056, JPEG-LS), each in a study of its own, are sent by C-STORE at once. Each is
analysed; its report, overlay and presentation state are sent to an Orthanc. The time runs from the start of
the first image to the arrival of the last object. CPU time is that of the station and its decode workers from
the first acknowledgement on; other work on the machine makes it longer, but less so than the time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from cxrserve.bench.measure import bare_engine
from cxrserve.cores import usable_cores
from tests.benchmarks.main_job import WORK, full_size_bundle
from tests.benchmarks.radiographs import native_images
from tests.benchmarks.store_rate import compressed, measure, write
from tests.orthanc import Orthanc, orthanc
from tests.stations import Station, station

# A report, an overlay and a presentation state.
RESULTS = 3
QUIET_S = 1.0


def cpu_s(running: Station) -> float:
    """CPU seconds of the station and its decode workers so far."""
    process = psutil.Process(running.process.pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def drained_s(bundle: Path, pacs: Orthanc, files: list[Path], folder: Path) -> tuple[float, float, float]:
    """Objects acknowledged a second; seconds, and CPU seconds, from the first complete study to the end."""
    peer = {"protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port}
    rules = {
        "quiet_time_s": QUIET_S,
        "destinations": {"pacs": peer},
        "rules": [{"name": "all", "destinations": ["pacs"]}],
    }
    with station(bundle, folder / "archive", rules, threads=usable_cores(), decode_workers=2) as running:
        begun = time.perf_counter()
        rate = measure(running, files, 4, ["-xt"])
        before = cpu_s(running)
        pacs.wait_for(RESULTS * len(files), timeout_s=60 + 20 * len(files))
        return rate, time.perf_counter() - begun - QUIET_S, cpu_s(running) - before


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=None, help="full-size and untrained by default")
    parser.add_argument("--objects", type=int, default=30)
    asked = parser.parse_args()
    bundle = (asked.bundle or full_size_bundle()).resolve()
    jpeg = native_images(WORK / "native")[0]
    alone = bare_engine(bundle, jpeg, 20.0)["images_per_s"]
    with tempfile.TemporaryDirectory() as name, orthanc(Path(name) / "orthanc") as pacs:
        files, _ = write(compressed, asked.objects, Path(name) / "films")
        rate, seconds, cpu = drained_s(bundle, pacs, files, Path(name))
    drained = asked.objects / seconds
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {bundle.name}: {asked.objects} films kept at {rate:.1f} a "
        f"second, results of all in Orthanc after {seconds:.1f} s: {drained:.2f} images/s, "
        f"{drained / alone:.0%} of the {alone:.2f} images/s that the engines reach alone, "
        f"{cpu / asked.objects * 1000:.0f} ms of CPU time an image; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
