"""Compares int8 with bf16 and f32: speed, and change of the answers.

    python -m tests.benchmarks.precision speed BUNDLE --int8 FOLDER
    python -m tests.benchmarks.precision change BUNDLE --data CACHE

`speed` quantises each member for its arithmetic alone (few calibration images, no gate) and runs the three in
turn, so that what else the machine does falls on all alike; the fastest run of each counts. `change` opens a
bundle that `cxrserve models quantize` was run on, as it serves and in single precision, and compares
the whole ensemble's answers on phantoms with labels.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines.openvino import OpenVinoEngine
from cxrserve.ensemble import stack
from cxrserve.ensemble.predictor import Predictor
from cxrserve.settings import Settings
from training.cache import PyramidCache, open_cache
from training.precision.gate import auc_falls


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    speed = commands.add_parser("speed")
    speed.add_argument("bundle", type=Path)
    speed.add_argument("--int8", type=Path, required=True, help="Folder that int8 graphs are kept in.")
    speed.add_argument("--rounds", type=int, default=10)
    speed.add_argument("--threads", type=int, default=2)
    speed.add_argument("--sizes", type=int, nargs="*")
    change = commands.add_parser("change")
    change.add_argument("bundle", type=Path)
    change.add_argument("--data", type=Path, required=True, help="Folder of cached phantoms.")
    asked = parser.parse_args()
    if asked.command == "speed":
        measure_speed(asked.bundle, asked.int8, asked.rounds, asked.threads, asked.sizes)
    else:
        measure_change(asked.bundle, asked.data)


def measure_speed(folder: Path, kept: Path, rounds: int, threads: int, sizes: list[int] | None) -> None:
    """Print the fastest run of each precision at each size, and the ratios."""
    kept.mkdir(parents=True, exist_ok=True)
    total = dict.fromkeys(("f32", "bf16", "int8"), 0.0)
    print(
        "|  size | f32 ms | bf16 ms | int8 ms | f32 / int8 | bf16 / int8 |\n|---:|---:|---:|---:|---:|---:|"
    )
    for size, model in load_bundle(folder).models.items():
        if sizes and size not in sizes:
            continue
        random = np.random.default_rng(size)
        engines = {
            "f32": OpenVinoEngine(model, size=size, precision="f32", threads=threads),
            "bf16": OpenVinoEngine(model, size=size, precision="bf16", threads=threads),
            "int8": OpenVinoEngine(
                _int8(model, size, kept), size=size, precision="bf16", threads=threads, variant="int8"
            ),
        }
        image = random.integers(0, 256, (1, 1, size, size)).astype(np.uint8)
        best = dict.fromkeys(engines, np.inf)
        for _ in range(rounds):
            for name, engine in engines.items():
                started = time.perf_counter()
                engine.run(image)
                best[name] = min(best[name], time.perf_counter() - started)
        for name, seconds in best.items():
            total[name] += seconds
        _row(str(size), best)
    _row("all", total)
    print(
        f"most memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


def _row(what: str, seconds: dict[str, float]) -> None:
    f32, bf16, int8 = (1000 * seconds[name] for name in ("f32", "bf16", "int8"))
    print(
        f"| {what} | {f32:.1f} | {bf16:.1f} | {int8:.1f} | {f32 / int8:.2f} | {bf16 / int8:.2f} |", flush=True
    )


def _int8(model: bytes, size: int, kept: Path) -> bytes:
    file = kept / f"int8_{size}.onnx"
    if not file.exists():
        from training.precision.quantize.int8_graph import quantised

        random = np.random.default_rng(size)
        images = [random.integers(0, 256, (size, size)).astype(np.uint8) for _ in range(2)]
        file.write_bytes(quantised(model, images))
    return file.read_bytes()


def measure_change(folder: Path, data: Path) -> None:
    """Print how the ensemble's answers change from single precision to what the bundle serves here."""
    served = Predictor.open(Settings(bundle=folder))
    half = Predictor.open(Settings(bundle=folder, precision="bf16"))
    exact = Predictor.open(Settings(bundle=folder, precision="f32"))
    images = open_cache(data, exact.bundle.contract.preprocessing)
    print(f"{len(images)} phantoms; served: {served.precisions}\n")
    print("| against f32 | largest Δp | mean Δp | mean AUC falls | largest fall | decisions that differ |")
    print("|---|---:|---:|---:|---:|---:|")
    expected = _probabilities(exact, images)
    for name, predictor in (("bf16", half), ("as served", served)):
        found = _probabilities(predictor, images)
        falls = auc_falls(expected, found, images.labels_NF)
        changed = np.abs(found - expected)
        differ = ((found >= exact.thresholds_F) != (expected >= exact.thresholds_F)).mean()
        print(
            f"| {name} | {changed.max():.4f} | {changed.mean():.4f} | {np.mean(falls):+.5f} | "
            f"{max(falls):+.5f} | {differ:.2%} |",
            flush=True,
        )


def _probabilities(predictor: Predictor, images: PyramidCache) -> np.ndarray:
    logits_NFS = np.stack(
        [predictor.predict(images.pyramid(index), explain="none").logits_FS for index in range(len(images))]
    )
    return stack.stacked(logits_NFS, predictor.weights_FS)


if __name__ == "__main__":
    main()
