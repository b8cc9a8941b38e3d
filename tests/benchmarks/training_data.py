"""The way of a dataset's images through training, beside the plain way: size, reading, preparing, evaluating.

    python -m tests.benchmarks.training_data FOLDER_OR_FILES… [--bundle models/demo] [--rounds 3]

Without files, phantoms are drawn. All images are decoded in this run, both ways:

size       the cache of four sizes, compressed, beside one plain array for each size; both hold the same
           images, and 377,110 such images are the mean of these times that number
read       batches of four images of 2048 pixels in a random order, from either
prepare    films a second of one process: decoding and resizing alone, then the same and plain arrays
           written, then `cxrserve train prepare`
evaluate   images a second through the path that serves: each file decoded and scored after the other, then
           as `cxrserve evaluate` does, decoded ahead and scored side by side

Processor time is of all threads and processes of the benchmark; on a shared machine it is the one to compare.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from cxrserve.bundle.contract import read_contract
from cxrserve.ensemble.predictor import Predictor
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.settings import Settings
from tests.benchmarks.cache import IMAGES, manifest_of, print_rates
from training.cache import cache_images, open_films, undecodable
from training.datasets.labels import LabelPolicy
from training.datasets.manifest import Manifest
from training.report.files import FileSamples, decoding, score_files
from training.report.score_images import open_for_many
from training.report.scores import untracked

SIZES: Final = (256, 512, 1024, 2048)


@dataclass(kw_only=True)
class Spent:
    """Time of a stretch: of the wall and of the processor, with all processes that live at both its ends."""

    wall_s: float = 0.0
    processor_s: float = 0.0

    def line(self, name: str, images: int) -> str:
        """Both as rates, in words."""
        return (
            f"{name}: {images / self.processor_s:.2f} images a second of processor time, "
            f"{images / self.wall_s:.2f} images/s here"
        )


def _processor_s() -> float:
    """Processor time of this process and of its children, so far."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(one.user + one.system for one in times)


@contextmanager
def _measured(spent: Spent) -> Iterator[None]:
    processor, wall = _processor_s(), time.perf_counter()
    yield
    spent.processor_s, spent.wall_s = _processor_s() - processor, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--phantoms", type=int, default=16)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}")
    files = [
        file
        for path in arguments.files
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    ]
    with tempfile.TemporaryDirectory() as work:
        manifest = manifest_of(files, arguments.phantoms, Path(work))
        _prepare(manifest, Path(work), arguments.rounds)
        _evaluate(manifest, arguments.bundle, arguments.rounds)
    print(f"load at the end {os.getloadavg()[0]:.1f}")


def _prepare(manifest: Manifest, work: Path, rounds: int) -> None:
    """Filling, size and reading of the cache."""
    preprocessing = Preprocessing(profile="mimic-cxr-jpg", pictures="final", sizes=SIZES)
    ways: dict[str, Callable[[Path], Spent]] = {
        "prepare, decoding and resizing alone": lambda _: _fill_plainly(manifest, preprocessing, None),
        "prepare, before": lambda folder: _fill_plainly(manifest, preprocessing, folder),
        "prepare, now": lambda folder: _fill_cache(manifest, preprocessing, folder),
    }
    best: dict[str, Spent] = {}
    for number in range(rounds):
        for name, way in ways.items():
            spent = way(work / f"{name.split()[-1]}_{number}")
            best[name] = min(best.get(name, spent), spent, key=lambda one: one.processor_s)
    plain, cached = work / "before_0", work / "now_0"
    assert not undecodable(cached, manifest), "all files must be films"
    _print_sizes(plain, cached, len(manifest))
    rows = np.arange(len(manifest))
    cache = open_films([cached], [rows], [list(manifest.samples)], manifest.labels_NF(), SIZES)
    for size in (SIZES[-1],):
        print_rates(size, cache.level(size), np.load(plain / f"level_{size}.npy", mmap_mode="r"), rounds)
    for name, spent in best.items():
        # The first film waits for the decode process to start, and is not counted.
        print(spent.line(name, len(manifest) - 1))


def _print_sizes(plain: Path, cached: Path, count: int) -> None:
    for name, folder in (("before", plain), ("now", cached)):
        total = sum(path.stat().st_size for path in folder.iterdir())
        print(
            f"size, {name}: {total / 1e6:.2f} MB for {count} images, {total / count / 1e6:.3f} MB an image; "
            f"× {IMAGES:,} images = {total / count * IMAGES / 1e9:,.0f} GB"
        )


def _fill_plainly(manifest: Manifest, preprocessing: Preprocessing, folder: Path | None) -> Spent:
    """Decode one film after the other in this process, and write every level where there is a folder."""
    arrays = {}
    if folder is not None:
        folder.mkdir()
        arrays = {
            size: np.lib.format.open_memmap(
                folder / f"level_{size}.npy", mode="w+", dtype=np.uint8, shape=(len(manifest), size, size)
            )
            for size in SIZES
        }

    def fill(row: int) -> None:
        data = manifest.file(manifest.samples[row]).read_bytes()
        levels = prepare(data, preprocessing, Limits()).levels
        for size, array in arrays.items():
            array[row] = levels[size]

    fill(0)
    spent = Spent()
    with _measured(spent):
        for row in range(1, len(manifest)):
            fill(row)
        for array in arrays.values():
            array.flush()
    return spent


def _fill_cache(manifest: Manifest, preprocessing: Preprocessing, folder: Path) -> Spent:
    rows = cache_images(folder, manifest, preprocessing, 1)
    next(rows)
    spent = Spent()
    with _measured(spent):
        for _ in range(1, len(manifest)):
            next(rows)
    for _ in rows:
        raise AssertionError("more rows than images")
    return spent


def _evaluate(manifest: Manifest, bundle: Path, rounds: int) -> None:
    best: dict[str, Spent] = {}
    for _ in range(rounds):
        for name, way in (("evaluate, before", _one_by_one), ("evaluate, now", _many)):
            spent = way(manifest, bundle)
            best[name] = min(best.get(name, spent), spent, key=lambda one: one.wall_s)
    for name, spent in best.items():
        print(spent.line(name, len(manifest)))


def _one_by_one(manifest: Manifest, bundle: Path) -> Spent:
    """Each file decoded and scored, with all threads, before the next one is looked at."""
    settings, spent = Settings(bundle=bundle), Spent()
    predictor = Predictor.open(settings)
    predictor.warm_up()
    with decoding(read_contract(bundle)[0].preprocessing, settings) as pool:
        pool.wait_ready()
        with _measured(spent):
            for sample in manifest.samples:
                levels = pool.prepare(manifest.file(sample).read_bytes()).levels
                predictor.predict(levels, explain="none")
    return spent


def _many(manifest: Manifest, bundle: Path) -> Spent:
    settings, spent = Settings(bundle=bundle), Spent()
    predictor = open_for_many(settings)
    with decoding(read_contract(bundle)[0].preprocessing, settings) as pool:
        pool.wait_ready()
        samples = FileSamples(pool, manifest, LabelPolicy(), settings.decode_workers)
        with closing(samples), _measured(spent):
            score_files(predictor, samples, "the images", untracked)
    return spent


if __name__ == "__main__":
    main()
