"""The cache of pyramids: size, rate of reading batches, rate of filling; compressed against plain arrays.

    python -m tests.benchmarks.cache FOLDER_OR_FILES… [--sizes 256,512,1024,2048] [--rounds 3]

Without files, phantoms are drawn. Plain arrays are what the cache was before: one memory-mapped uint8
[N, S, S] for each size. Both hold the same images and are read in the same order in the same run. The time is
that of the processor, of all threads, and the wall's: on a shared machine the first is the one to compare.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.pyramid import Preprocessing
from training.cache import cache_images, open_films, undecodable
from training.datasets.manifest import Manifest, new_manifest
from training.datasets.read import read_dataset
from training.datasets.sample import Sample
from training.phantom import write_phantoms

# MIMIC-CXR-JPG.
IMAGES = 377_110
BATCH = 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--phantoms", type=int, default=16)
    parser.add_argument("--sizes", default="256,512,1024,2048")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    sizes = tuple(int(size) for size in arguments.sizes.split(","))
    preprocessing = Preprocessing(profile="mimic-cxr-jpg", pictures="final", sizes=sizes)
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as work:
        manifest = manifest_of(arguments.files, arguments.phantoms, Path(work))
        compressed, plain = Path(work) / "compressed", Path(work) / "plain"
        for _ in cache_images(compressed, manifest, preprocessing, arguments.workers, print):
            pass
        bad = undecodable(compressed, manifest)
        rows = np.array([row for row in range(len(manifest)) if row not in bad])
        samples = [manifest.samples[row] for row in rows]
        cache = open_films([compressed], [rows], [samples], manifest.labels_NF()[rows], sizes)
        plain.mkdir()
        for size in sizes:
            np.save(plain / f"level_{size}.npy", np.asarray(cache.level(size)))
        print_sizes(compressed, plain, len(rows), sizes)
        for size in sizes:
            stored = np.load(plain / f"level_{size}.npy", mmap_mode="r")
            print_rates(size, cache.level(size), stored, arguments.rounds)


def manifest_of(files: list[Path], phantoms: int, work: Path) -> Manifest:
    if not files:
        write_phantoms(work / "phantoms", phantoms, seed=90_000)
        return read_dataset(f"phantoms:{work / 'phantoms'}")
    labels_F = np.full(14, np.nan, np.float32)
    samples = [
        Sample(
            path=str(file.resolve()).lstrip("/"),
            patient_id=str(number),
            study_id=str(number),
            image_id=str(number),
            labels_F=labels_F,
        )
        for number, file in enumerate(files)
    ]
    return new_manifest(source="files", root=Path("/"), samples=samples, annotated=(), faults=())


def print_sizes(compressed: Path, plain: Path, count: int, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        before = (plain / f"level_{size}.npy").stat().st_size
        path = compressed / f"level_{size}.zst"
        after = path.stat().st_size if path.exists() else 0
        ratio = f"{before / after:.2f} times smaller" if after else "not stored"
        print(
            f"{size}: {before / count / 1e6:.3f} MB an image before, {after / count / 1e6:.3f} now, {ratio}"
        )
    all_before, all_after = (
        sum(path.stat().st_size for path in folder.iterdir()) / count for folder in (plain, compressed)
    )
    print(f"all: {all_before / 1e6:.2f} MB an image before, {all_after / 1e6:.2f} now, of {count} images")
    print(
        f"{IMAGES} such images: {all_before * IMAGES / 1e12:.2f} TB before, "
        f"{all_after * IMAGES / 1e12:.2f} TB now"
    )


def print_rates(size: int, now: NDArray[np.uint8], before: NDArray[np.uint8], rounds: int) -> None:
    order_N = np.random.default_rng(0).permutation(len(before))
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, level in (("before", before), ("now", now)):
            processor, wall = time.process_time(), time.perf_counter()
            for start in range(0, len(order_N), BATCH):
                np.array(level[np.sort(order_N[start : start + BATCH])])
            spent = time.process_time() - processor, time.perf_counter() - wall
            best[name] = min(best.get(name, spent), spent)
    for name, (processor, wall) in best.items():
        print(
            f"{size} {name}: {len(order_N) / max(processor, 1e-9):.0f} images/s a core, "
            f"{len(order_N) / wall:.0f} images/s here"
        )


if __name__ == "__main__":
    main()
