"""Pyramids on disk: every image decoded and resized once, then memory-mapped by whoever trains.

Legend: N images, F findings, S side of a level, G side of the grid of places.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

import training.phantom as phantom_package
from cxrserve.findings import NAMES
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Grey, Preprocessing, build_pyramid
from training.phantom import make_phantom
from training.phantom.scene import GRID

# The files of training/phantom whose code decides what a phantom looks like.
DRAWN_BY: Final = ("canvas.py", "chest.py", "phantom.py", "scene.py", "signs.py")
Labels = NDArray[np.float32]
Places = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class PyramidCache:
    """Levels, labels and places of N images.

    Attributes:
        levels: by size, uint8 [N, S, S], memory-mapped.
        labels_NF: float32 [N, 14], 0 or 1.
        places_NFGG: uint8 [N, 14, 64, 64], 0 or 1, where each finding lies in the squashed image.
    """

    levels: dict[int, NDArray[np.uint8]]
    labels_NF: Labels
    places_NFGG: Places

    def __len__(self) -> int:
        return len(self.labels_NF)

    def pyramid(self, index: int) -> dict[int, Grey]:
        """All levels of one image, as `build_pyramid` returned them."""
        return {size: np.ascontiguousarray(level[index]) for size, level in self.levels.items()}


def cache_phantoms(
    folder: Path, first_seed: int, count: int, preprocessing: Preprocessing, workers: int
) -> Iterator[int]:
    """Draw `count` phantoms into `folder`, which must be new or hold the very same; yields each one's number.

    The files are complete once `cache.json` is there: an interrupted run draws its folder again.
    """
    wanted = _description(first_seed, count, preprocessing)
    if (folder / "cache.json").exists() and json.loads((folder / "cache.json").read_text()) == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cache.json").unlink(missing_ok=True)
    for size in preprocessing.sizes:
        _new_array(_level_file(folder, size), (count, size, size))
    _new_array(folder / "places.npy", (count, len(NAMES), GRID, GRID))
    labels_NF = np.zeros((count, len(NAMES)), np.float32)
    # spawn: a forked child of a process that has run torch may hang in its thread pool.
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        jobs = ((folder, index, first_seed + index, preprocessing) for index in range(count))
        for index, labels_F in enumerate(pool.map(_cache_one, *zip(*jobs, strict=True), chunksize=4)):
            labels_NF[index] = labels_F
            yield index
    np.save(folder / "labels.npy", labels_NF)
    (folder / "cache.json").write_text(json.dumps(wanted))


def open_cache(folder: Path, preprocessing: Preprocessing) -> PyramidCache:
    """The cache that `cache_phantoms` made in `folder`."""
    return PyramidCache(
        levels={size: np.load(_level_file(folder, size), mmap_mode="r") for size in preprocessing.sizes},
        labels_NF=np.load(folder / "labels.npy"),
        places_NFGG=np.load(folder / "places.npy", mmap_mode="r"),
    )


def _cache_one(folder: Path, index: int, seed: int, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    phantom = make_phantom(seed)
    grey_HW, _ = apply_profile(phantom.radiograph, preprocessing.profile)
    for size, level_SS in build_pyramid(grey_HW, preprocessing).items():
        np.load(_level_file(folder, size), mmap_mode="r+")[index] = level_SS
    np.load(folder / "places.npy", mmap_mode="r+")[index] = phantom.places_FGG
    return phantom.labels_F


def _new_array(path: Path, shape: tuple[int, ...]) -> None:
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()


def _level_file(folder: Path, size: int) -> Path:
    return folder / f"level_{size}.npy"


def _description(first_seed: int, count: int, preprocessing: Preprocessing) -> dict[str, object]:
    return {
        "phantoms": count,
        "first_seed": first_seed,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "generator_sha256": _generator_sha256(),
    }


def _generator_sha256() -> str:
    """Hash of the generator's source: phantoms drawn by another one are not the same phantoms."""
    folder = Path(phantom_package.__path__[0])
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in DRAWN_BY)).hexdigest()
