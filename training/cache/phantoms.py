"""Filling a cache with phantoms, drawn by several processes, with the locations of their findings.

Legend: N phantoms, F findings, S side of a level, G side of the grid of places.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

import training.phantom as phantom_package
from cxrserve.findings import NAMES
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing, build_pyramid
from training.cache.files import (
    COMPLETE,
    FILLED,
    CacheFiles,
    described,
    json_like,
    level_arrays,
    level_file,
    preprocessing_key,
)
from training.phantom import make_phantom
from training.phantom.scene import GRID
from training.subprocesses import end_with_parent

# The files of training/phantom whose code decides what a phantom looks like.
DRAWN_BY: Final = ("canvas.py", "chest.py", "phantom.py", "scene.py", "signs.py")
LABELS, LOCATIONS = "labels.npy", "places.npy"


def cache_phantoms(
    folder: Path, first_seed: int, count: int, preprocessing: Preprocessing, workers: int
) -> Iterator[int]:
    """Draw `count` phantoms into `folder`, those that are not in it; yields the number of each one drawn."""
    description = phantoms_description(first_seed, count, preprocessing)
    if described(folder / COMPLETE) == json_like(description):
        return
    arrays = level_arrays(count, preprocessing.sizes)
    arrays[LOCATIONS] = np.uint8, (count, len(NAMES), GRID, GRID)
    arrays[LABELS] = np.float32, (count, len(NAMES))
    files = CacheFiles(folder, description, arrays)
    # spawn: a forked child of a process that has run torch may hang in its thread pool.
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        jobs = {
            pool.submit(_draw, folder, row, first_seed + row, preprocessing): row for row in files.pending()
        }
        for job in as_completed(jobs):
            files[LABELS][jobs[job]] = job.result()
            files.mark(jobs[job], FILLED)
            yield jobs[job]
    files.complete(description)


def phantoms_description(first_seed: int, count: int, preprocessing: Preprocessing) -> dict[str, object]:
    """Description of a cache of phantoms: everything that decides its content."""
    return {
        "phantoms": count,
        "first_seed": first_seed,
        "preprocessing": preprocessing_key(preprocessing),
        "generator_sha256": generator_sha256(),
    }


def generator_sha256() -> str:
    """Hash of the generator's source: phantoms drawn by another one are not the same phantoms."""
    folder = Path(phantom_package.__path__[0])
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in DRAWN_BY)).hexdigest()


def _begin(parent: int) -> None:
    end_with_parent(parent)
    cv2.setNumThreads(1)


def _draw(folder: Path, row: int, seed: int, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    phantom = make_phantom(seed)
    grey_HW, _ = apply_profile(phantom.radiograph, preprocessing.profile)
    for size, level_SS in build_pyramid(grey_HW, preprocessing).items():
        np.load(folder / level_file(size), mmap_mode="r+")[row] = level_SS
    np.load(folder / LOCATIONS, mmap_mode="r+")[row] = phantom.places_FGG
    return phantom.labels_F
