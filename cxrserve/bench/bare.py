"""The engines alone: images a second from pyramids that are ready, nothing decoded, nothing answered.

A process of its own (`python -m cxrserve.bench.bare BUNDLE SECONDS FILM`), so that its memory and threads are
its own. Prints one JSON line.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from cxrserve.ensemble.predictor import Predictor
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.settings import Settings


def main(bundle: Path, seconds: float, image: Path) -> None:
    """Time the bundle's engines on one film, one image after the other."""
    settings = Settings(bundle=bundle)
    predictor = Predictor.open(settings)
    predictor.warm_up()
    limits = Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels)
    levels = prepare(image.read_bytes(), predictor.bundle.contract.preprocessing, limits).levels
    took: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(took) < 3:
        started = time.perf_counter()
        predictor.predict(levels, explain="none")
        took.append(time.perf_counter() - started)
    print(json.dumps({"images_per_s": len(took) / sum(took), "median_s": statistics.median(took)}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
