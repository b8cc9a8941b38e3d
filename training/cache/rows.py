"""Rows of memory-mapped arrays, as if they were one array: a split's images, of one cache or of several.

Nothing is read before it is asked for, and what travels to another process are the files' names.

Legend: N rows that are shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray


class Rows:
    """Some rows of the arrays in `files`, read-only; indexed as a NumPy array is, along all axes.

    Args:
        files: `.npy` files whose arrays differ in nothing but their number of rows.
        file_N, row_N: int64 [N], which file and which of its rows each shown row is.
    """

    def __init__(self, files: tuple[Path, ...], file_N: NDArray[np.int64], row_N: NDArray[np.int64]) -> None:
        self._files, self._file_N, self._row_N = files, file_N, row_N
        self._arrays: tuple[NDArray[Any], ...] = tuple(np.load(file, mmap_mode="r") for file in files)

    def __reduce__(self) -> tuple[type[Rows], tuple[Any, ...]]:
        return Rows, (self._files, self._file_N, self._row_N)

    def __len__(self) -> int:
        return len(self._row_N)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._arrays[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._arrays[0].dtype

    @property
    def ndim(self) -> int:
        return self._arrays[0].ndim

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        picked = np.arange(len(self))[first]
        if picked.ndim == 0:
            return cast("NDArray[Any]", self._arrays[self._file_N[picked]][(self._row_N[picked], *rest)])
        rows = [self._arrays[self._file_N[each]][(self._row_N[each], *rest)] for each in picked]
        return np.stack(rows) if rows else np.empty((0, *self.shape[1:]), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)


def rows_of(files: tuple[Path, ...], file_N: NDArray[np.int64], row_N: NDArray[np.int64]) -> NDArray[Any]:
    """`Rows` as those see it who only index it, which is all that is done with a cache."""
    return cast("NDArray[Any]", Rows(files, file_N, row_N))


def all_rows(file: Path) -> NDArray[Any]:
    """Every row of one file."""
    count = len(np.load(file, mmap_mode="r"))
    return rows_of((file,), np.zeros(count, np.int64), np.arange(count))
