"""Files of a cache: memory-mapped arrays, and the state of each row.

A row is marked only after its pixels were flushed to the disk: what is marked is there after `kill -9`, and
after a power cut. Rows that are not marked are filled again.

Legend: N rows, S side of a level.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cxrserve.files import write_atomically
from cxrserve.imaging.pyramid import Preprocessing
from training.datasets.faults import DatasetError

# Complete: `cache.json` says what is in it. Being filled: `filling.json` says so.
COMPLETE: Final = "cache.json"
FILLING: Final = "filling.json"
PENDING, FILLED, BAD = 0, 1, 2
# Rows between two flushes: what a kill costs at most.
FLUSH_EVERY: Final = 64
_SPARE_BYTES: Final = 2**30

Description = Mapping[str, object]


class CacheFiles:
    """Arrays of N rows in `folder`, being filled; `state_N` is uint8 [N]: pending, done or bad.

    Args:
        folder: made if it is not there; files of another description in it are replaced.
        description: what the cache is to hold; JSON.
        arrays: dtype and shape of each array by file name, N first.

    Raises:
        DatasetError: the disk has not enough room.
    """

    def __init__(
        self, folder: Path, description: Description, arrays: Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
    ) -> None:
        self.folder = folder
        self.description = description
        folder.mkdir(parents=True, exist_ok=True)
        count = next(iter(arrays.values()))[1][0]
        arrays = {**arrays, "state.npy": (np.uint8, (count,))}
        if described(folder / FILLING) != json_like(description):
            (folder / FILLING).unlink(missing_ok=True)
            (folder / COMPLETE).unlink(missing_ok=True)
            for name in arrays:
                (folder / name).unlink(missing_ok=True)
            check_room(folder, bytes_of(arrays))
            for name, (dtype, shape) in arrays.items():
                _create(folder / name, dtype, shape)
            write_atomically(folder / FILLING, json.dumps(description))
        # Also of files that an earlier version left sparse.
        for name in arrays:
            _reserve(folder / name)
        self._arrays: dict[str, np.memmap[Any, Any]] = {
            name: np.load(folder / name, mmap_mode="r+") for name in arrays
        }
        self._unmarked: list[tuple[int, int]] = []
        # Called before rows are marked: they bring to the disk what lies beside the arrays.
        self.syncs: list[Callable[[], None]] = []

    @property
    def state_N(self) -> NDArray[np.uint8]:
        state_N: NDArray[np.uint8] = self["state.npy"]
        return state_N

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def pending(self) -> list[int]:
        """Rows that are still to be filled, ascending."""
        return [int(row) for row in np.flatnonzero(self.state_N == PENDING)]

    def mark(self, row: int, state: int) -> None:
        """Say that `row` was filled; it counts from the next flush on."""
        self._unmarked.append((row, state))
        if len(self._unmarked) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Bring every row to the disk, then the marks."""
        for sync in self.syncs:
            sync()
        for name, array in self._arrays.items():
            if name != "state.npy":
                array.flush()
        for row, state in self._unmarked:
            self.state_N[row] = state
        self._unmarked.clear()
        self._arrays["state.npy"].flush()

    def complete(self, description: Description) -> None:
        """Write `cache.json` with `description`: from now on the cache is complete."""
        self.flush()
        write_atomically(self.folder / COMPLETE, json.dumps(description))
        (self.folder / FILLING).unlink()


def preprocessing_key(preprocessing: Preprocessing) -> dict[str, object]:
    """The part of a cache's description that says how its levels were made.

    Fields that later versions added count only where they are not at their default, so that caches of earlier
    versions stay what they are. Lanczos was OpenCV's once, and is Pillow's now.
    """
    key: dict[str, object] = preprocessing.model_dump(mode="json")
    if key["pictures"] == "profile":
        del key["pictures"]
    if key["filter"] == "lanczos":
        key["lanczos"] = "pillow"
    return key


def level_file(size: int) -> str:
    return f"level_{size}.npy"


def level_arrays(count: int, sizes: Sequence[int]) -> dict[str, tuple[DTypeLike, tuple[int, ...]]]:
    """The arrays of the levels of `count` images: uint8 [N, S, S] each."""
    return {level_file(size): (np.uint8, (count, size, size)) for size in sizes}


def bytes_of(arrays: Mapping[str, tuple[DTypeLike, tuple[int, ...]]]) -> int:
    """Size of `arrays` on the disk, in bytes."""
    return sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in arrays.values())


def described(path: Path) -> dict[str, Any] | None:
    """The description in a file; None where there is none that can be read."""
    try:
        description: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return description


def json_like(value: Description) -> dict[str, Any]:
    """`value` as it comes back from JSON: tuples are lists there."""
    content: dict[str, Any] = json.loads(json.dumps(value))
    return content


def _create(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    """A new file of zeros; its room on the disk is taken by `_reserve`."""
    with room_for(path, np.dtype(dtype).itemsize * int(np.prod(shape))):
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _reserve(path: Path) -> None:
    """Take the file's whole room on the disk.

    A sparse file that is written through a memory map when the disk is full ends the process with SIGBUS.
    """
    size = path.stat().st_size
    with room_for(path, size), path.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, size)


@contextmanager
def room_for(path: Path, size: int) -> Iterator[None]:
    """Translate the errors of a full disk.

    Raises:
        DatasetError: the disk, or the quota, has no room for `size` bytes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DatasetError(
            f"{path} needs {size / 1e9:.3g} GB, and its disk or quota has no room "
            f"({os.strerror(error.errno)}); free some and start again, or choose another place with --cache"
        ) from None


def check_room(folder: Path, needed: int) -> None:
    """Refuse a disk without room for `needed` bytes.

    Raises:
        DatasetError: it has less.
    """
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise DatasetError(
            f"the pyramids need {needed / 1e9:.1f} GB and the disk of {folder} has {free / 1e9:.1f} GB free; "
            "choose another place with --cache, or fewer or smaller sizes"
        )
