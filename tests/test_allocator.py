"""Large buffers freed in many threads leave the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_CHURN = """
import sys, threading
from cxrserve.allocator import give_back_large_buffers
if sys.argv[1] == "settled":
    give_back_large_buffers()

MIB, threads = 2**20, 8
freed, read = threading.Barrier(threads + 1), threading.Barrier(threads + 1)

def radiographs():
    small = []
    for _ in range(4):
        for size in (15, 9, 15):
            film = bytearray(size * MIB)
            small.append(bytes(700))  # held behind the buffer, as an answer outlives its film
            del film
    freed.wait()
    read.wait()

def resident_mib():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

before = resident_mib()
for _ in range(threads):
    threading.Thread(target=radiographs).start()
freed.wait()
print(resident_mib() - before)
read.wait()
"""


def _kept_mib(how: str, **variables: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", _CHURN, how], env=environment | variables, capture_output=True, check=True
    )
    return float(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_films_leave_the_process() -> None:
    left_alone, settled = _kept_mib("alone"), _kept_mib("settled")
    assert settled < 12 < left_alone


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_what_the_administrator_set_stays() -> None:
    kept = _kept_mib(
        "settled", MALLOC_MMAP_THRESHOLD_="33554432", MALLOC_TRIM_THRESHOLD_="67108864", MALLOC_ARENA_MAX="16"
    )
    assert kept > 12
