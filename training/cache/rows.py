"""Rows of levels on disk, as if they were one array: a split's images, of one cache or of several.

Nothing is read before it is asked for, and what travels to another process are the files' names.

Legend: N rows that are shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from training.cache.compressed import CompressedLevel, images_of, level_name


class LevelRows:
    """Some images of compressed levels, read-only; indexed as an array uint8 [N, S, S] is, along all axes.

    Args:
        folders: caches whose levels have one size.
        size, halved: of what is shown, and the halvings that lead there from the stored level.
        file_N, row_N: int64 [N], which folder and which of its rows each shown row is.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        folders: tuple[Path, ...],
        size: int,
        halved: int,
        file_N: NDArray[np.int64],
        row_N: NDArray[np.int64],
    ) -> None:
        self._arguments = folders, size, halved, file_N, row_N
        self._size, self._file_N, self._row_N = size, file_N, row_N
        name = level_name(size << halved)
        self._levels = tuple(CompressedLevel(folder / name, size, halved) for folder in folders)

    def __reduce__(self) -> tuple[type[LevelRows], tuple[Any, ...]]:
        return LevelRows, self._arguments

    def __len__(self) -> int:
        return len(self._row_N)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), self._size, self._size

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        picked = np.arange(len(self))[first]
        if picked.ndim == 0:
            return self._levels[self._file_N[picked]].image(int(self._row_N[picked]))[rest]
        if not len(picked):
            return np.empty((0, self._size, self._size), np.uint8)[:, *rest]
        levels = [self._levels[file] for file in self._file_N[picked].tolist()]
        return images_of(levels, self._row_N[picked].tolist())[:, *rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)


def level_rows(
    folders: tuple[Path, ...], size: int, halved: int, file_N: NDArray[np.int64], row_N: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """`LevelRows`, typed as an array: indexing is all that is done with a cache."""
    return cast("NDArray[np.uint8]", LevelRows(folders, size, halved, file_N, row_N))


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
        rows = [self._arrays[self._file_N[row]][(self._row_N[row], *rest)] for row in picked]
        return np.stack(rows) if rows else np.empty((0, *self.shape[1:]), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)


def rows_of(files: tuple[Path, ...], file_N: NDArray[np.int64], row_N: NDArray[np.int64]) -> NDArray[Any]:
    """`Rows`, typed as an array: indexing is all that is done with a cache."""
    return cast("NDArray[Any]", Rows(files, file_N, row_N))


def all_rows(file: Path) -> NDArray[Any]:
    """Every row of one file."""
    count = len(np.load(file, mmap_mode="r"))
    return rows_of((file,), np.zeros(count, np.int64), np.arange(count))
