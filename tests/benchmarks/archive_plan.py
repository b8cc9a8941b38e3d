"""Measures the plan of an archive: listing, going on and counting, with a reader that answers at once.

    python -m tests.benchmarks.archive_plan --images 1000000 FOLDER

Prints the figures as JSON: seconds of each step, and the largest memory of this process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from cxrserve.bulk.output import OutputFolder
from cxrserve.bulk.plan import PART_IMAGES, Plan, Run, parquet, part_file
from cxrserve.bulk.rows import refused, table_of
from cxrserve.errors import UnreadableImage


class ManyNames:
    """Names without images."""

    location = "simulated"

    def __init__(self, count: int) -> None:
        self._count = count

    def names(self) -> Iterator[str]:
        """As long as a path in a hospital's export."""
        return (f"2026/p{number // 1000:06d}/s{number:09d}/image-1.dcm" for number in range(self._count))

    def read(self, name: str, max_bytes: int) -> bytes:
        """No image is read."""
        raise AssertionError(name)


def read_parts(plan: Plan, parts: list[int]) -> None:
    """The files of `parts`, as a reader writes them that answers at once."""
    for part in parts:
        rows = [refused(name, "0" * 64, UnreadableImage("simulated")) for name in plan.names(part)]
        plan.output.write(part_file(part), parquet(table_of(rows, {"engine": "none"})))


def measure(count: int, folder: Path) -> dict[str, float]:
    """The figures of an archive of `count` names, which is interrupted after half of its parts."""
    run = Run(
        source="simulated",
        bundle_sha256="0" * 64,
        site_sha256=None,
        engine="auto",
        precision="auto",
        film_check="refuse",
        film_check_correct="none",
        dicom=False,
        cxrserve="0",
        part_images=PART_IMAGES,
    )
    times = [time.perf_counter()]

    def lap() -> float:
        times.append(time.perf_counter())
        return round(times[-1] - times[-2], 2)

    figures: dict[str, float] = {}
    plan = Plan.opened(run, ManyNames(count), OutputFolder(str(folder / "answers")))
    figures |= {"parts": plan.parts, "planned_s": lap()}
    half = plan.parts // 2
    read_parts(plan, plan.remaining()[:half])
    figures |= {"half_written_s": lap(), "remaining": plan.parts - half}
    again = Plan.opened(run, ManyNames(0), OutputFolder(str(folder / "answers")))
    remaining = again.remaining()
    figures |= {"remaining_when_resumed": len(remaining), "resumed_s": lap()}
    read_parts(again, remaining)
    figures |= {"rest_written_s": lap()}
    assert not again.remaining()
    table = f"'{folder / 'answers'}/part-*.parquet'"
    counted = duckdb.sql(f"select count(*), count(distinct file) from {table}")
    assert counted is not None
    figures["rows"], figures["names"] = counted.fetchall()[0]
    figures |= {"counted_s": lap()}
    figures["peak_mib"] = round(_peak_kib() / 1024)
    return figures


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1_000_000)
    options = parser.parse_args()
    print(json.dumps(measure(options.images, options.folder)))


def _peak_kib() -> int:
    """The most memory of this program. `ru_maxrss` holds that of the process which started it, too."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise LookupError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()
