"""CPU use of an idle station, and the time from an acknowledged object to the beginning of its work.

    python -m tests.benchmarks.idle --seconds 300 --database sqlite
    python -m tests.benchmarks.idle --seconds 300 --database postgres --destinations 23

The station runs as a process of its own, with HTTP and DICOM, its engines and a decode worker. CPU seconds
are those of the process and its children, from /proc, and are listed by thread. The time to begin is measured
in this process, on an archive of its own with a quiet time of 0: from `Archive.receive` returning until the
study's job starts, with nothing else at work. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import yaml
from pydicom.uid import generate_uid

from cxrserve.archive.archive import Archive
from cxrserve.archive.jobs.study_job import StudyJob
from cxrserve.archive.receipt import Source
from cxrserve.archive.storage.files import key_of
from cxrserve.archive.storage.tables import JobRow
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.settings import Settings
from tests import radiographs
from tests.bundles import write_tiny_bundle
from tests.postgres import fresh_database, postgres
from tests.stations import station

_SETTLE_S = 20.0  # imports and warm-up of the station


def cpu_seconds(process: psutil.Process) -> dict[str, float]:
    """CPU seconds so far, by thread of the process; those of its children as one figure."""
    seconds: dict[str, float] = {}
    for thread in process.threads():
        try:
            name = Path(f"/proc/{process.pid}/task/{thread.id}/comm").read_text().strip()
        except FileNotFoundError:
            continue
        seconds[f"{name}-{thread.id}"] = thread.user_time + thread.system_time
    seconds["children"] = sum(sum(child.cpu_times()[:2]) for child in process.children(recursive=True))
    seconds["all"] = seconds["children"] + sum(process.cpu_times()[:2])
    return seconds


def idle(
    folder: Path, bundle: Path, database_url: str, destinations: int, seconds: float
) -> dict[str, object]:
    """Run a station that has nothing to do; its use of a core, in percent."""
    peer = {"protocol": "dimse", "ae_title": "NOBODY", "host": "127.0.0.1", "port": 9}
    names = [f"peer{number}" for number in range(destinations)]
    rules = {
        "destinations": dict.fromkeys(names, peer),
        "rules": [{"name": "all", "destinations": names}],
    }
    with station(bundle, folder / "idle", rules, database_url=database_url, node_name="idle") as running:
        process = psutil.Process(running.process.pid)
        time.sleep(_SETTLE_S)
        before, started = cpu_seconds(process), time.monotonic()
        time.sleep(seconds)
        after, lasted = cpu_seconds(process), time.monotonic() - started
    used = {name: after[name] - before.get(name, 0.0) for name in after}
    busiest = sorted(used.items(), key=lambda item: -item[1])[:8]
    return {
        "seconds": round(lasted, 1),
        "percent_of_a_core": round(100 * used["all"] / lasted, 3),
        "cpu_seconds": {name: round(value, 2) for name, value in busiest if value > 0},
    }


def time_to_begin(folder: Path, bundle: Path, database_url: str, studies: int) -> dict[str, object]:
    """Receive one study after the other; milliseconds from each acknowledgement until its job starts."""
    rules = folder / "rules.yaml"
    rules.write_text(yaml.safe_dump({"quiet_time_s": 0, "rules": [{"name": "all"}]}))
    settings = Settings.model_validate(
        {
            "bundle": bundle,
            "archive": folder / "begin",
            "rules": rules,
            "archive_min_free_bytes": 1,
            "decode_workers": 1,
            "threads": 1,
            "database_url": database_url,
            "node_name": "begin",
        }
    )
    begun: dict[str, float] = {}
    ended = threading.Event()
    run = StudyJob.run

    def noted(self: StudyJob, job: JobRow) -> None:
        begun.setdefault(str(job.study_key), time.monotonic())
        try:
            run(self, job)
        finally:
            ended.set()

    StudyJob.run = noted  # type: ignore[method-assign]
    acknowledged: dict[str, float] = {}
    with Pipeline(settings) as pipeline, Archive.open(settings, pipeline, {}) as archive:
        for _ in range(studies):
            ended.clear()
            uids = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
            data = radiographs.dicom(96, 80, **uids)
            receipt = archive.receive(data, Source(protocol="file"))
            acknowledged[receipt.study_instance_uid] = time.monotonic()
            ended.wait(120)
            time.sleep(random.uniform(0.1, 3.0))
    waits_ms = sorted(1000 * (begun[key_of(uid)] - moment) for uid, moment in acknowledged.items())
    return {
        "studies": len(waits_ms),
        "median_ms": round(statistics.median(waits_ms), 1),
        "p95_ms": round(waits_ms[int(0.95 * len(waits_ms))], 1),
        "max_ms": round(waits_ms[-1], 1),
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--destinations", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cxrserve-idle-") as name, ExitStack() as opened:
        folder = Path(name)
        cluster = opened.enter_context(postgres()) if arguments.database == "postgres" else ""
        bundle = write_tiny_bundle(folder / "bundle")
        figures: dict[str, object] = {"database": arguments.database, "destinations": arguments.destinations}
        if arguments.studies:
            url = fresh_database(cluster) if cluster else ""
            figures["time_to_begin"] = time_to_begin(folder, bundle, url, arguments.studies)
        if arguments.seconds:
            url = fresh_database(cluster) if cluster else ""
            figures["idle"] = idle(folder, bundle, url, arguments.destinations, arguments.seconds)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
