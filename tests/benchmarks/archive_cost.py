"""Archive on Ray and on one machine, in turn: CPU seconds of both, and bytes that Ray carries for each image.

    python -m tests.benchmarks.archive_cost --bundle models/demo --images 320

Images are drawn at random, 1200 × 1000. A cluster of one raylet with three cores; its reader has two, as the
one machine has. CPU seconds are those of every process that was started, the cluster's own among them.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import psutil

from cxrserve.bulk.on_ray import _row
from tests import radiographs
from tests.ray_cluster import ray_cluster

_PART, _PAUSE_S, _MARK = 32, 0.2, "ARCHIVE_COST"
_PROGRAM = (
    "import sys; from cxrserve.bulk.run import Options, predict_in_parts;"
    "from cxrserve.bulk.source import open_source; from cxrserve.settings import Settings;"
    "settings = Settings(bundle=sys.argv[2], threads=2, decode_workers=2, film_check='off');"
    f"options = Options(part_images={_PART}, ray=sys.argv[4] or None);"
    "predict_in_parts(open_source(sys.argv[1]), settings, sys.argv[3], options)"
)


class CpuSeconds:
    """CPU seconds of all processes with this program's mark in their environment, but itself.

    They are asked several times a second, because Ray reaps its processes without adding up their times.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, float], float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(_PAUSE_S):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    if process.pid != os.getpid() and process.environ().get(_MARK) == str(os.getpid()):
                        times = process.cpu_times()
                        self._seconds[process.pid, process.create_time()] = times.user + times.system

    def __enter__(self) -> CpuSeconds:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def total(self) -> float:
        """Of all so far."""
        return sum(self._seconds.values())


def cost(images: Path, bundle: Path, output: Path, *, ray: bool) -> float:
    """CPU seconds of one run."""
    words = [sys.executable, "-c", _PROGRAM, str(images), str(bundle), str(output)]
    with CpuSeconds() as used:
        if ray:
            with ray_cluster(nodes=1, cores=3) as cluster:
                subprocess.run([*words, cluster.address], check=True, stderr=subprocess.DEVNULL)
        else:
            subprocess.run([*words, ""], check=True, stderr=subprocess.DEVNULL)
    return used.total


def main() -> None:
    """Measure few and many images, both ways, twice in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--images", type=int, default=320)
    options = parser.parse_args()
    os.environ[_MARK] = str(os.getpid())
    print(f"load {psutil.getloadavg()}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        images.mkdir()
        for number in range(options.images):
            (images / f"{number:04d}.png").write_bytes(radiographs.png(1200 + number % 7, 1000))
        names = [path.name for path in images.iterdir()]
        row = len(pickle.dumps(list(_row(0, names[:_PART]))))
        print(
            f"bytes through Ray: {row / _PART:.0f} for each image, with names of {len(names[0])} characters"
        )
        for turn in range(2):
            for ray in (False, True):
                output = folder / f"answers {turn} {ray}"
                used_s = cost(images, options.bundle, output, ray=ray)
                print(f"{'Ray' if ray else 'one machine'}: {used_s:.1f} CPU s", flush=True)
    print(f"load {psutil.getloadavg()}")


if __name__ == "__main__":
    main()
