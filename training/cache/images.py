"""Filling a cache with the radiographs of a dataset, decoded as for serving, each file once.

Several processes decode; the threads that wait for them compress and write.

Legend: N images of the manifest.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve.errors import Busy, CxrserveError
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.workers import DecodePool
from training.cache.compressed import LevelWriter, index_arrays, index_name, level_name, stored_sizes
from training.cache.files import (
    BAD,
    COMPLETE,
    FILLED,
    FILLING,
    PENDING,
    CacheFiles,
    check_room,
    described,
    json_like,
    preprocessing_key,
    room_for,
)
from training.datasets.faults import Fault
from training.datasets.manifest import Manifest

# One film of a detector takes well under a second; what takes longer is damaged.
DECODE_TIMEOUT_S: Final = 120.0
DECODE_MEMORY_BYTES: Final = 2 * 2**30
# Larger files than any film: a film of 100 million pixels of 16 bit, and room for its header.
MAX_FILE_BYTES: Final = 2**28
# Films in work beyond those being decoded, so that no process waits for the disk.
_READ_AHEAD: Final = 2
# Images that are decoded one by one at first, to know the rate of decoding alone.
_TIMED: Final = 8
# The least that compression saves on detectors' images, by which the room is estimated. Measured on real
# radiographs: 2.2 at 2048 pixels, 1.8 at 512.
_EXPECTED_RATIO: Final = 1.7
_REASONS, _HASHES, _STATS = "reasons.jsonl", "sha256.npy", "stats.npy"


def images_description(manifest: Manifest, preprocessing: Preprocessing) -> dict[str, object]:
    """Description of a cache of radiographs: everything that decides its content, except their bytes."""
    return {
        "images": len(manifest),
        "manifest_sha256": manifest.sha256,
        "preprocessing": preprocessing_key(preprocessing),
        "levels": "zstd-up",
    }


def expected_bytes(count: int, sizes: Sequence[int]) -> int:
    """About the room that a cache of `count` images takes on the disk."""
    return int(count * sum(size**2 for size in stored_sizes(sizes)) / _EXPECTED_RATIO)


def cache_images(
    folder: Path,
    manifest: Manifest,
    preprocessing: Preprocessing,
    workers: int,
    say: Callable[[str], None] = lambda message: None,
) -> Iterator[int]:
    """Fill `folder` with the pyramids of `manifest`, those that are not in it; yields each row that was done.

    A file whose size or time of change is another than when it was read is read again. A film that cannot
    be decoded becomes a fault, see `undecodable`. At the end the rate is reported to `say`.

    Raises:
        Busy: no decode process can be started.
        DatasetError: the disk has not enough room.
    """
    description = images_description(manifest, preprocessing)
    if _is_complete(folder, description) and not changed_files(folder, manifest):
        return
    _open_again(folder, description)
    arrays = index_arrays(len(manifest), preprocessing.sizes)
    arrays[_HASHES] = np.uint8, (len(manifest), 32)
    arrays[_STATS] = np.int64, (len(manifest), 2)
    if described(folder / FILLING) != json_like(description):
        folder.mkdir(parents=True, exist_ok=True)
        check_room(folder, expected_bytes(len(manifest), preprocessing.sizes))
    files = CacheFiles(folder, description, arrays)
    for row in changed_files(folder, manifest):
        files.state_N[row] = PENDING
    with ExitStack() as stack:
        counts_N = files.state_N == FILLED
        writers = {
            size: LevelWriter(folder / level_name(size), files[index_name(size)], counts_N)
            for size in stored_sizes(preprocessing.sizes)
        }
        for writer in writers.values():
            stack.callback(writer.close)
            files.syncs.append(writer.sync)
        pool = DecodePool(
            preprocessing,
            Limits(),
            workers=workers,
            timeout_s=DECODE_TIMEOUT_S,
            memory_bytes=DECODE_MEMORY_BYTES,
        )
        stack.enter_context(pool)
        rate = Rate(workers=workers)
        yield from _fill(files, manifest, _Maker(files, manifest, pool, writers), rate)
        files.complete({**description, "content_sha256": _content_sha256(files)})
    say(rate.sentence())


def undecodable(folder: Path, manifest: Manifest) -> dict[int, Fault]:
    """The radiographs of `manifest` that could not be decoded, by row."""
    state_N = np.load(folder / "state.npy")
    details: dict[int, str] = {}
    if (folder / _REASONS).exists():
        for text_line in (folder / _REASONS).read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(text_line)
            except ValueError:
                continue  # the line on which the run was killed; its row is not marked
            details[int(entry["row"])] = str(entry["detail"])
    return {
        int(row): Fault(
            where=manifest.samples[row].path,
            reason="image cannot be decoded",
            detail=details.get(int(row), ""),
        )
        for row in np.flatnonzero(state_N == BAD)
    }


def content_sha256(folder: Path) -> str:
    """Hash of the bytes of all radiographs in a complete cache, and of its description."""
    description = described(folder / COMPLETE)
    assert description is not None
    return str(description["content_sha256"])


def changed_files(folder: Path, manifest: Manifest) -> list[int]:
    """Rows whose file is not as it was when it was read, by its size and time of change."""
    try:
        state_N, stats_N2 = np.load(folder / "state.npy"), np.load(folder / _STATS)
    except (OSError, ValueError):
        return []
    return [
        row
        for row, sample in enumerate(manifest.samples)
        if state_N[row] != PENDING and file_stat(manifest.file(sample)) != tuple(stats_N2[row].tolist())
    ]


def _is_complete(folder: Path, expected: dict[str, object]) -> bool:
    description = described(folder / COMPLETE) or {}
    return {name: description.get(name) for name in expected} == json_like(expected)


def _open_again(folder: Path, description: dict[str, object]) -> None:
    """A complete cache of which files have changed is one that is being filled."""
    if _is_complete(folder, description):
        (folder / COMPLETE).rename(folder / FILLING)
        (folder / FILLING).write_text(json.dumps(description), encoding="utf-8")


@dataclass(kw_only=True)
class Rate:
    """Rate of the filling, and the limit that decoding alone sets.

    Attributes:
        decoding_s: of the first images, one after the other, each in one process.
    """

    workers: int
    images: int = 0
    started: float = field(default_factory=time.monotonic)
    decoding_s: list[float] = field(default_factory=list)

    def sentence(self) -> str:
        """Both rates in words."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        rate = self.images / seconds
        text = (
            f"{self.images} images in {seconds:.1f} s: {rate:.2f} images/s with {self.workers} processes, "
            f"{rate / self.workers:.2f} a process"
        )
        if self.decoding_s:
            one = len(self.decoding_s) / max(sum(self.decoding_s), 1e-9)
            text += f"; decoding and resizing alone: {one:.2f} images/s a process"
        return text


def _fill(files: CacheFiles, manifest: Manifest, maker: _Maker, rate: Rate) -> Iterator[int]:
    rows = iter(files.pending())
    with (
        ThreadPoolExecutor(rate.workers + _READ_AHEAD) as threads,
        (files.folder / _REASONS).open("a", encoding="utf-8") as reasons,
    ):
        # A few at a time: a pyramid of 2048 takes six megabytes, and a queue of all would hold them all.
        jobs: dict[Future[str | None], int] = {}
        while True:
            # The first ones one by one: what they take is decoding, not waiting for a process.
            at_once = 1 if rate.images < _TIMED else rate.workers + _READ_AHEAD
            for row in islice(rows, at_once - len(jobs)):
                jobs[threads.submit(maker.make, row)] = row
            if not jobs:
                return
            for job in wait(jobs, return_when=FIRST_COMPLETED).done:
                row, refused = jobs.pop(job), job.result()
                if refused is not None:
                    reasons.write(json.dumps({"row": row, "detail": refused}) + "\n")
                    reasons.flush()
                files.mark(row, FILLED if refused is None else BAD)
                rate.images += 1
                if rate.images <= _TIMED and refused is None:
                    rate.decoding_s.append(maker.decoding_s)
                yield row


class _Maker:
    """Makes the pyramids of single rows; called by several threads."""

    def __init__(
        self,
        files: CacheFiles,
        manifest: Manifest,
        pool: DecodePool,
        writers: Mapping[int, LevelWriter],
    ) -> None:
        self._files, self._manifest, self._pool, self._writers = files, manifest, pool, writers
        self.decoding_s = 0.0

    def make(self, row: int) -> str | None:
        """The reason why the film of `row` was refused, None if it is cached.

        Raises:
            DatasetError: the disk is full.
        """
        files, path = self._files, self._manifest.file(self._manifest.samples[row])
        files[_STATS][row] = file_stat(path)
        files[_HASHES][row] = 0
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                return f"{path.stat().st_size} bytes, more than a film has"
            data = path.read_bytes()
            files[_HASHES][row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
            started = time.monotonic()
            prepared = self._pool.prepare(data)
            self.decoding_s = time.monotonic() - started
        except Busy:
            raise
        except (CxrserveError, OSError) as error:
            return str(error.detail if isinstance(error, CxrserveError) else error.strerror)
        for size, writer in self._writers.items():
            with room_for(files.folder / level_name(size), size**2):
                writer.write(row, prepared.levels[size])
        return None


def file_stat(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; (-1, -1) where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _content_sha256(files: CacheFiles) -> str:
    digest = hashlib.sha256(json.dumps(files.description, sort_keys=True).encode())
    files.flush()
    digest.update(files.state_N.tobytes())
    digest.update(files[_HASHES].tobytes())
    return digest.hexdigest()
