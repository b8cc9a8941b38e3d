"""Scores of a test set that are written as they come, so that a killed evaluation continues.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.predictor import Prediction
from cxrserve.findings import NAMES
from training.stamp import sha256_of

# Images between two flushes: what a kill costs at most.
FLUSH_EVERY: Final = 32
FILE: Final = "scores.part.npy"


@contextmanager
def kept_until_done(parent: Path, facts: Mapping[str, object]) -> Iterator[Path]:
    """A folder below `parent` for the scores that `facts` decide; removed after a block that ends well.

    A block inside a block of the same folder leaves it to the outer one.
    """
    folder = parent / f"scores-{sha256_of(facts)[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    if folder.exists():
        shutil.rmtree(folder)


def count_kept(folder: Path) -> int:
    """Images that `folder` has whole scores of."""
    try:
        rows: NDArray[np.float64] = np.load(folder / FILE, mmap_mode="r")
    except (OSError, ValueError):
        return 0  # there is none, or it was being made when the run was killed
    return int((~np.isnan(rows).any((1, 2))).sum())


class PartialScores:
    """Logits and engine times of N images, in a file where one is given; NaN where still to be scored.

    Args:
        folder: of the file; it must be one of this bundle and these images alone. None for memory only.
    """

    def __init__(self, folder: Path | None, count: int, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)
        shape = (count, len(NAMES) + 1, len(self._sizes))
        self._path = None if folder is None else folder / FILE
        self._rows: NDArray[np.float64] = self._open(shape)
        self._unflushed = 0

    def _open(self, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        if self._path is None:
            return np.full(shape, np.nan)
        try:
            stored: NDArray[np.float64] = np.load(self._path, mmap_mode="r+")
            if stored.shape == shape and stored.dtype == np.float64:
                return stored
        except (OSError, ValueError):
            pass  # there is none, or it was being made when the run was killed
        # A new file holds zeros, which would pass for scores: it gets its name when it holds NaN.
        unfinished = self._path.with_suffix(".new")
        created = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float64, shape=shape)
        created[:] = np.nan
        created.flush()
        unfinished.replace(self._path)
        return created

    def pending(self) -> list[int]:
        """Positions of the images that are still to be scored."""
        return [int(index) for index in np.flatnonzero(np.isnan(self._rows).any((1, 2)))]

    def put(self, index: int, prediction: Prediction) -> None:
        """Keep the scores of the image at `index`."""
        times = [prediction.timing_ms[f"engine_{size}"] for size in self._sizes]
        # One assignment: a row that is cut by a kill still holds a NaN, or is as good as whole.
        self._rows[index] = np.concatenate([prediction.logits_FS, [times]])
        self._unflushed += 1
        if self._unflushed >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Bring what was scored to the disk."""
        self._unflushed = 0
        if isinstance(self._rows, np.memmap):
            self._rows.flush()

    @property
    def logits_NFS(self) -> NDArray[np.float64]:
        """Of all images, float64 [N, 14, S]."""
        return np.array(self._rows[:, :-1])

    @property
    def engine_ms(self) -> dict[int, float]:
        """Median time of each member for one image, by size."""
        median_S = np.nanmedian(self._rows[:, -1], axis=0)
        return {size: float(median) for size, median in zip(self._sizes, median_S, strict=True)}

    def remove(self) -> None:
        """Remove the file; the scores are somewhere else now."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
