"""Phantoms as a network sees them, without files: a few always the same, or many drawn on all cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing, build_pyramid
from training.phantom.phantom import Phantom, make_phantom
from training.subprocesses import end_with_parent

COUNT: Final = 4
IN_WORDS: Final = f"{COUNT} drawn phantoms"


def phantom_pyramids(preprocessing: Preprocessing) -> list[dict[int, NDArray[np.uint8]]]:
    """`COUNT` phantoms, always the same: by size, uint8 [S, S]."""
    return [_pyramid(make_phantom(seed), preprocessing) for seed in range(COUNT)]


def drawn_pyramids(
    count: int, seed: int, preprocessing: Preprocessing
) -> Iterator[tuple[dict[int, NDArray[np.uint8]], NDArray[np.float32]]]:
    """Pyramid and labels float32 [14] of phantoms with seeds from `seed` on, drawn on all cores."""
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        # In small portions: a pyramid has 6 MB, and a pool does not wait for those who read it.
        for first in range(seed, seed + count, 8 * workers):
            seeds = range(first, min(first + 8 * workers, seed + count))
            yield from pool.map(_with_labels, seeds, [preprocessing] * len(seeds))


def _begin(parent: int) -> None:
    end_with_parent(parent)
    cv2.setNumThreads(1)


def _with_labels(
    seed: int, preprocessing: Preprocessing
) -> tuple[dict[int, NDArray[np.uint8]], NDArray[np.float32]]:
    phantom = make_phantom(seed)
    return _pyramid(phantom, preprocessing), phantom.labels_F.astype(np.float32)


def _pyramid(phantom: Phantom, preprocessing: Preprocessing) -> dict[int, NDArray[np.uint8]]:
    grey_HW, _ = apply_profile(phantom.radiograph, preprocessing.profile)
    return build_pyramid(grey_HW, preprocessing)
