"""Cost of the decode workers' sandbox for each film, and whether it changes any answer.

    python -m tests.benchmarks.sandbox [FILES…] [--films 40] [--runs 5]

Two real pools of one decode worker each run side by side: one as it serves, and one whose worker leaves the
sandbox out. Each film goes to both in turn, and every second time to the other one first, so that whatever
else the machine does falls on both. The films have 2500 × 3056 pixels: JPEG, DICOM, DICOM with JPEG 2000 and
with JPEG-LS, at the four sizes of a full ensemble. Prints one JSON object: for each run the ratio of the
medians, by the worker's CPU seconds (/proc/PID/task/*/schedstat, nanoseconds) and by the clock.

With FILES, each is decoded and displayed once by both pools; the answers, whole, must be the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from cxrserve.errors import CxrserveError
from cxrserve.imaging import worker_process
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.workers import DecodePool
from tests.benchmarks.radiographs import COLUMNS, ROWS, native_images
from tests.imaging import makers

_SIZES: Final = (256, 512, 1024, 2048)
_OPEN: Final = (
    "import sys; from cxrserve.imaging import sandbox; sandbox.enter = lambda: ('left out',); "
    "from cxrserve.imaging.worker import main; main()"
)
_start = worker_process._start


def _start_open(descriptor: int, config: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A worker as `worker_process` starts it, without the sandbox."""
    arguments = (f"--socket={descriptor}", f"--config={json.dumps(config)}")
    names = worker_process._ENVIRONMENT
    return subprocess.Popen(
        (sys.executable, "-P", "-c", _OPEN, *arguments),
        pass_fds=(descriptor,),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in names if name in os.environ} | worker_process._ONE_THREAD,
    )


class Side:
    """One pool of one worker."""

    def __init__(self, start: Callable[[int, dict[str, Any]], subprocess.Popen[bytes]]) -> None:
        self._start: Final = start
        self.pool: Final = self._started(
            lambda: DecodePool(
                Preprocessing(profile="linear", sizes=_SIZES),
                Limits(),
                workers=1,
                timeout_s=120,
                memory_bytes=2**31,
            )
        )
        self._started(self.pool.wait_ready)

    def _started(self, work: Callable[[], Any]) -> Any:
        setattr(worker_process, "_start", self._start)  # noqa: B010 - mypy lets nobody replace a function
        try:
            return work()
        finally:
            setattr(worker_process, "_start", _start)  # noqa: B010

    @property
    def is_closed_in(self) -> bool:
        """Whether its worker is under a seccomp filter."""
        return "Seccomp:\t2\n" in Path(f"/proc/{self.pool.worker_pids()[0]}/status").read_text()

    def cost(self, film: bytes) -> tuple[float, float]:
        """CPU seconds of the worker and seconds of the clock for one film."""
        (pid,) = self.pool.worker_pids()
        before, started = _cpu_s(pid), time.perf_counter()
        self._started(lambda: self.pool.prepare(film))
        return _cpu_s(pid) - before, time.perf_counter() - started

    def answer(self, film: bytes) -> list[str]:
        """A digest of the decoded film and of its display, or the errors."""
        return [self._digest(lambda: self.pool.prepare(film)), self._digest(lambda: self.pool.display(film))]

    def _digest(self, work: Callable[[], Any]) -> str:
        try:
            done = self._started(work)
        except CxrserveError as error:
            return f"{type(error).__name__}: {error.detail}"
        fields = {field.name: getattr(done, field.name) for field in dataclasses.fields(done)}
        fields.pop("timing_ms", None)
        return hashlib.sha256(repr(sorted(_plain(fields).items())).encode()).hexdigest()


def _cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9


def _plain(value: Any) -> Any:
    """`value` with digests in place of arrays and buffers."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "tobytes"):
        return hashlib.sha256(bytes(value) if isinstance(value, bytearray) else value.tobytes()
                              if hasattr(value, "tobytes") else value).hexdigest()  # fmt: skip
    return value


def films() -> dict[str, bytes]:
    """One full-size film of each kind."""
    jpeg, dicom = native_images(Path("runs/benchmark/images"), count=1)
    pixels = makers.radiograph(ROWS, COLUMNS)
    return {
        "jpeg": jpeg.read_bytes(),
        "dicom": dicom.read_bytes(),
        "jpeg 2000": makers.dicom(pixels, syntax=JPEG2000Lossless),
        "jpeg-ls": makers.dicom(pixels, syntax=JPEGLSLossless),
    }


def one_run(sides: tuple[Side, Side], film: bytes, count: int) -> dict[str, float]:
    """Medians of `count` films on both sides in turn; ratios with the sandbox over without."""
    costs: list[list[tuple[float, float]]] = [[], []]
    for number in range(count):
        for index in (0, 1) if number % 2 else (1, 0):
            costs[index].append(sides[index].cost(film))
    closed, opened = ([statistics.median(column) for column in zip(*each, strict=True)] for each in costs)
    return {
        "cpu_s": round(opened[0], 4),
        "cpu_ratio": round(closed[0] / opened[0], 4),
        "wall_s": round(opened[1], 4),
        "wall_ratio": round(closed[1] / opened[1], 4),
    }


def differing(sides: tuple[Side, Side], paths: list[Path]) -> dict[str, Any]:
    """The files that the two sides answer differently."""
    answered, different = 0, []
    for path in paths:
        first, second = (side.answer(path.read_bytes()) for side in sides)
        answered += ":" not in first[0]
        if first != second:
            different.append(path.name)
    return {"files": len(paths), "answered": answered, "different": different}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--films", type=int, default=40, help="of each kind and run, on each side")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as opened:
        sides = Side(_start), Side(_start_open)
        for side in sides:
            opened.callback(side.pool.close)
        assert [side.is_closed_in for side in sides] == [True, False]
        figures: dict[str, Any] = {}
        if options.files:
            figures["answers"] = differing(sides, options.files)
        for name, film in films().items() if options.runs else ():
            for side in sides:
                side.cost(film)  # warm
            figures[name] = [one_run(sides, film, options.films) for _ in range(options.runs)]
        assert [side.is_closed_in for side in sides] == [True, False]  # also after a replacement
        figures["load"] = os.getloadavg()[0]
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
