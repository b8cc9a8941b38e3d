"""The torch engine with packages compiled ahead, and without: both in turn, in one process.

    cxrserve models build BUNDLE --engine torch
    python -m tests.benchmarks.torch_packages BUNDLE [--sizes 256,512] [--threads 1] [--turns 5] [--seconds 1]

On a GPU every number of images that has a package is measured, on a CPU one image. Prints images a second
(the median of the turns), the CPU time of an image, their ratios, and the largest difference between both in
standard deviations of the output.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from cxrserve.engines.gate import films
from cxrserve.engines.select import Choice, choose
from cxrserve.engines.torch import TorchEngine
from tests.benchmarks.gpu import rate


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="Of each turn of each side.")
    asked = parser.parse_args()
    choice = choose("torch", "auto")
    taken = choice.load(asked.bundle)
    print(f"torch {torch.__version__}, {asked.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| size | images | graph, images/s | package, images/s | ratio | CPU ms | CPU ratio | difference |")
    print("|---:" * 8 + "|")
    for size in asked.sizes or taken.models:
        variant = taken.variants[size].precision if size in taken.variants else None
        packaged = _engine(choice, taken.models[size], size, asked.threads, variant)
        with tempfile.TemporaryDirectory() as empty, patch.dict(os.environ, XDG_CACHE_HOME=empty):
            plain = _engine(choice, taken.models[size], size, asked.threads, variant)
        if not packaged.packaged:
            print(f"\nno package of {size} was built here: cxrserve models build --engine torch")
        for count in packaged.packaged:
            _compare(plain, packaged, size, count, asked.turns, asked.seconds)


def _engine(choice: Choice, model: bytes, size: int, threads: int, variant: object) -> TorchEngine:
    engine = choice.build(model, size=size, threads=threads, variant=variant)  # type: ignore[arg-type]
    assert isinstance(engine, TorchEngine)
    return engine


def _compare(
    plain: TorchEngine, packaged: TorchEngine, size: int, count: int, turns: int, seconds: float
) -> None:
    """Measure both in turn, and print a row."""
    images = films(size, count)
    rates: dict[TorchEngine, list[float]] = {plain: [], packaged: []}
    cpu_ms: dict[TorchEngine, list[float]] = {plain: [], packaged: []}
    for _ in range(turns):
        for engine in rates:
            before, began = time.process_time(), time.perf_counter()
            rates[engine].append(rate(lambda engine=engine: engine.run(images), count, seconds))  # type: ignore[misc]
            busy = (time.process_time() - before) / (time.perf_counter() - began)
            cpu_ms[engine].append(1000 * busy / rates[engine][-1])
    fast, slow = statistics.median(rates[packaged]), statistics.median(rates[plain])
    less, more = statistics.median(cpu_ms[packaged]), statistics.median(cpu_ms[plain])
    pairs = zip(_answers(plain, images), _answers(packaged, images), strict=True)
    apart = max(float(np.abs(ours - others).max() / others.std()) for others, ours in pairs)
    print(
        f"| {size} | {count} | {slow:.1f} | {fast:.1f} | {fast / slow:.2f} | {more:.2f} → {less:.2f} | "
        f"{more / less:.2f} | {apart:.1e} |",
        flush=True,
    )


def _answers(engine: TorchEngine, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    output = engine.run(images)
    return output.logits_NF, output.maps_NFhw


if __name__ == "__main__":
    main()
