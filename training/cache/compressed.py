"""Compressed levels: the images of one size in one file, without loss, any of them read by itself.

Each image is filtered as PNG's filter "Up" does, each row less the row above it, and compressed by Zstandard
with a checksum. A level that is the exact 2×2 mean of a stored one is not stored. `level_2048.zst` holds the
images one after the other; `level_2048.index.npy` says where each begins and how long it is.

Legend: N images, S side of a level, K blocks of R rows.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import DTypeLike, NDArray

from cxrserve.imaging.pyramid import halve
from training.datasets.faults import DatasetError

Grey = NDArray[np.uint8]

# Levels up to this side are stored always: networks read them so fast that decoding a finer one would hold
# them up, and they take a fifteenth of the room.
MAX_ALWAYS_STORED: Final = 512
# The fastest level of Zstandard, and the smallest table of what it has seen: in the noise of a detector the
# matches that more would find save no room, and every one of them costs time to write and to read.
_PARAMETERS: Final = zstandard.ZstdCompressionParameters.from_level(
    1, hash_log=6, min_match=7, write_checksum=True
)
# Rows that are filtered back in one call of NumPy.
_BLOCK_ROWS: Final = 32
# Images smaller than this are decoded faster by one thread than they are dealt out to several.
_MIN_PARALLEL_PIXELS: Final = 128 * 128
_MAX_THREADS: Final = 8
_local = threading.local()


def stored_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes that are stored, ascending: not those that are half of another and over 512 pixels."""
    return tuple(size for size in sorted(set(sizes)) if not halvings(size, sizes))


def halvings(size: int, sizes: Sequence[int]) -> int:
    """The number of times that the stored level must be halved to give `size`; 0 where it is stored."""
    if size <= MAX_ALWAYS_STORED or 2 * size not in sizes:
        return 0
    return 1 + halvings(2 * size, sizes)


def compress(level_SS: Grey) -> bytes:
    """One image, filtered and compressed."""
    filtered_SS = level_SS.copy()
    np.subtract(level_SS[1:], level_SS[:-1], out=filtered_SS[1:])
    return _compressor().compress(filtered_SS.tobytes())


def decompress(data: bytes, out_SS: Grey) -> None:
    """Write the image that `compress` packed into `out_SS`, uint8 [S, S], C-contiguous.

    Raises:
        ValueError: the data is damaged.
    """
    try:
        with _decompressor().stream_reader(data) as stream:
            count = _read_all(stream, out_SS.data.cast("B"))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    if count != out_SS.size:
        raise ValueError(f"{count} pixels, expected {out_SS.size}")
    _add_up(out_SS)


def _read_all(stream: Any, view: memoryview) -> int:
    """Fill `view`, then read to the stream's end, where its checksum is compared; returns the bytes read."""
    count = 0
    while count < len(view) and (read := stream.readinto(view[count:])):
        count += read
    return count + len(stream.read(1))


def _add_up(filtered_SS: Grey) -> None:
    """Undo the filter in place: in each block from row to row, then from block to block."""
    rows = len(filtered_SS)
    block = _BLOCK_ROWS if rows % _BLOCK_ROWS == 0 else 1
    blocks_KRS = filtered_SS.reshape(rows // block, block, -1)
    for row in range(1, block):
        blocks_KRS[:, row] += blocks_KRS[:, row - 1]
    for number in range(1, len(blocks_KRS)):
        blocks_KRS[number] += blocks_KRS[number - 1, -1]


def level_name(size: int) -> str:
    return f"level_{size}.zst"


def index_name(size: int) -> str:
    return f"level_{size}.index.npy"


def index_arrays(count: int, sizes: Sequence[int]) -> dict[str, tuple[DTypeLike, tuple[int, ...]]]:
    """The arrays that say where the images of the stored levels lie: int64 [N, 2], offset and length."""
    return {index_name(size): (np.int64, (count, 2)) for size in stored_sizes(sizes)}


class LevelWriter:
    """The file of one level, being filled by several threads.

    Args:
        path: made if it is not there; what lies behind the last image that counts is cut off.
        index_N2: int64 [N, 2], written to; it must reach the disk before a row counts, and after `sync`.
        state_N: which rows count; those that do not may be written again.
    """

    def __init__(self, path: Path, index_N2: NDArray[np.int64], counts_N: NDArray[np.bool_]) -> None:
        self._index_N2 = index_N2
        self._end = int(index_N2[counts_N].sum(1).max(initial=0))
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.ftruncate(self._file, self._end)

    def write(self, row: int, level_SS: Grey) -> None:
        """Append the image of `row`.

        Raises:
            OSError: the disk is full.
        """
        data = compress(level_SS)
        with self._lock:
            offset, self._end = self._end, self._end + len(data)
        view, position = memoryview(data), offset
        while view:
            count = os.pwrite(self._file, view, position)
            view, position = view[count:], position + count
        self._index_N2[row] = offset, len(data)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class CompressedLevel:
    """A level that is read like an array uint8 [N, S, S] by its rows.

    Args:
        path: the file of a stored level.
        size: S of what is shown, after `halved` halvings of the stored images.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, path: Path, size: int, halved: int = 0) -> None:
        self._path, self._size, self._halved = path, size, halved
        self._index_N2: NDArray[np.int64] = np.load(path.with_suffix(".index.npy"), mmap_mode="r")
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self._index_N2), self._size, self._size

    def __len__(self) -> int:
        return len(self._index_N2)

    def __getitem__(self, key: Any) -> Grey:
        """One image, or a part of one: `level[3]`, `level[3, 10:20]`."""
        row, *rest = key if isinstance(key, tuple) else (key,)
        image_SS = self.image(int(row))
        return image_SS[tuple(rest)] if rest else image_SS

    def image(self, row: int) -> Grey:
        """The image of `row`, uint8 [S, S].

        Raises:
            DatasetError: the file is damaged.
        """
        image_SS = np.empty((self._size, self._size), np.uint8)
        self.read_into(row, image_SS)
        return image_SS

    def read_into(self, row: int, out_SS: Grey) -> None:
        """Write the image of `row` into `out_SS`, uint8 [S, S], C-contiguous.

        Raises:
            DatasetError: the file is damaged.
        """
        stored = self._size << self._halved
        level_SS = _scratch(stored) if self._halved else out_SS
        offset, length = self._index_N2[row].tolist()
        try:
            decompress(os.pread(self._file, length, offset), level_SS)
        except ValueError as error:
            raise DatasetError(
                f"{self._path}: image {row} of the cache is damaged ({error}); delete the folder "
                f"{self._path.parent} and run `prepare` again"
            ) from None
        for _ in range(self._halved):
            level_SS = halve(level_SS)
        if self._halved:
            out_SS[:] = level_SS


def images_of(levels: Sequence[CompressedLevel], rows: Sequence[int]) -> NDArray[np.uint8]:
    """Image `rows[i]` of `levels[i]`, uint8 [N, S, S], decoded side by side where that is faster.

    There is at least one.
    """
    images_NSS = np.empty((len(rows), *levels[0].shape[1:]), np.uint8)
    if len(rows) > 1 and levels[0].shape[1] ** 2 >= _MIN_PARALLEL_PIXELS:
        for _ in _threads().map(CompressedLevel.read_into, levels, rows, images_NSS):
            pass
    else:
        for level, row, image_SS in zip(levels, rows, images_NSS, strict=True):
            level.read_into(row, image_SS)
    return images_NSS


def _scratch(side: int) -> Grey:
    """An image uint8 [S, S] of the thread that asks: memory that is mapped already is written faster."""
    scratch: Grey | None = getattr(_local, "scratch", None)
    if scratch is None or len(scratch) != side:
        _local.scratch = scratch = np.empty((side, side), np.uint8)
    return scratch


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(_MAX_THREADS, len(os.sched_getaffinity(0))), "decode")


def _compressor() -> zstandard.ZstdCompressor:
    """A compressor of the thread that asks: they are not shared between threads."""
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(compression_params=_PARAMETERS)
    compressor: zstandard.ZstdCompressor = _local.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _local.decompressor
    return decompressor
