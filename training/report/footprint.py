"""Footprint of one member in service: memory of a process that holds it alone, and time of an image.

Run as a program, so that the process measured has imported what serving needs and nothing else: the package
of reports would bring torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

REPEATS: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Serving one member by itself.

    Attributes:
        peak_bytes: peak resident memory of the process, the program's own included.
        idle_bytes: the same before the member was built: Python, numpy, the engine, the bundle's files.
            Both are None where the system does not tell.
        run_ms: median time of one image.
    """

    peak_bytes: int | None
    idle_bytes: int | None
    run_ms: float
    engine: str

    @property
    def images_per_s(self) -> float:
        return 1000 / self.run_ms


def footprint(bundle: Path, size: int) -> Footprint:
    """Measured in a fresh process, on the engine that would serve the bundle here."""
    command = [sys.executable, "-m", __name__, str(bundle), str(size)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own
    return Footprint(**json.loads(output))


def measure(bundle: Path, size: int) -> Footprint:
    """The same in this process, whose peak memory so far counts."""
    from cxrserve.bundle.contract import load_bundle
    from cxrserve.engines.select import choose
    from cxrserve.settings import Settings

    settings = Settings()
    choice = choose(settings.engine, settings.precision)
    model = load_bundle(bundle).models[size]
    idle_bytes = _peak_bytes()
    engine = choice.build(model, size=size, threads=settings.threads)
    image = np.random.default_rng(0).integers(0, 256, (1, 1, size, size), np.uint8)
    engine.run(image)
    times_ms = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        engine.run(image)
        times_ms.append((time.perf_counter() - started) * 1000)
    return Footprint(
        peak_bytes=_peak_bytes(),
        idle_bytes=idle_bytes,
        run_ms=median(times_ms),
        engine=f"{choice.name} in {choice.precision}",
    )


def _peak_bytes() -> int | None:
    """Peak resident memory of this process; None where the system does not tell.

    Not `getrusage`: that one's peak outlives exec, so a child would begin with its parent's.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(
        (int(text_line.split()[1]) * 1024 for text_line in lines if text_line.startswith("VmHWM:")), None
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure(Path(sys.argv[1]), int(sys.argv[2])))))
