"""Films into a cache: decoded by the processes that decode for serving, each file once.

Legend: N images of the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve.errors import CxrserveError, NotReady
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.workers import DecodePool
from training.cache.files import (
    BAD,
    COMPLETE,
    DONE,
    FILLING,
    PENDING,
    CacheFiles,
    described,
    json_like,
    level_arrays,
    level_file,
)
from training.datasets.faults import Fault
from training.datasets.manifest import Manifest

# One film of a detector takes well under a second; what takes longer is damaged.
DECODE_TIMEOUT_S: Final = 120.0
DECODE_MEMORY_BYTES: Final = 2 * 2**30
# Larger files than any film: a film of 100 million pixels of 16 bit, and room for its header.
MOST_FILE_BYTES: Final = 2**28
# Films in work beyond those being decoded, so that no process waits for the disk.
_AHEAD: Final = 2
_REASONS, _HASHES, _STATS = "reasons.jsonl", "sha256.npy", "stats.npy"


def images_description(manifest: Manifest, preprocessing: Preprocessing) -> dict[str, object]:
    """What decides the content of a cache of films, but for their bytes."""
    return {
        "images": len(manifest),
        "manifest_sha256": manifest.sha256,
        "preprocessing": preprocessing.model_dump(mode="json"),
    }


def cache_images(
    folder: Path, manifest: Manifest, preprocessing: Preprocessing, workers: int
) -> Iterator[int]:
    """Fill `folder` with the pyramids of `manifest`, those that are not in it; yields each row that was done.

    A file whose size or time of change is another than when it was read is read again. A film that cannot
    be decoded becomes a fault, see `undecodable`.

    Raises:
        NotReady: no decode process can be started.
        DatasetError: the disk has not enough room.
    """
    wanted = images_description(manifest, preprocessing)
    if _is_complete(folder, wanted) and not changed_files(folder, manifest):
        return
    _open_again(folder, wanted)
    arrays = level_arrays(len(manifest), preprocessing.sizes)
    arrays[_HASHES] = np.uint8, (len(manifest), 32)
    arrays[_STATS] = np.int64, (len(manifest), 2)
    files = CacheFiles(folder, wanted, arrays)
    for row in changed_files(folder, manifest):
        files.state_N[row] = PENDING
    with DecodePool(
        preprocessing,
        Limits(),
        workers=workers,
        timeout_s=DECODE_TIMEOUT_S,
        memory_bytes=DECODE_MEMORY_BYTES,
    ) as pool:
        yield from _fill(files, manifest, pool, workers)
    files.complete({**wanted, "content_sha256": _content_sha256(files)})


def undecodable(folder: Path, manifest: Manifest) -> dict[int, Fault]:
    """The films of `manifest` that could not be decoded, by row."""
    state_N = np.load(folder / "state.npy")
    said: dict[int, str] = {}
    if (folder / _REASONS).exists():
        for line in (folder / _REASONS).read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the line on which the run was killed; its row is not marked
            said[int(entry["row"])] = str(entry["detail"])
    return {
        int(row): Fault(
            where=manifest.samples[row].path, reason="image cannot be decoded", detail=said.get(int(row), "")
        )
        for row in np.flatnonzero(state_N == BAD)
    }


def content_sha256(folder: Path) -> str:
    """Hash of the bytes of all films in a complete cache, and of what was made of them."""
    said = described(folder / COMPLETE)
    assert said is not None
    return str(said["content_sha256"])


def changed_files(folder: Path, manifest: Manifest) -> list[int]:
    """Rows whose file is not as it was when it was read, by its size and time of change."""
    try:
        state_N, stats_N2 = np.load(folder / "state.npy"), np.load(folder / _STATS)
    except (OSError, ValueError):
        return []
    return [
        row
        for row, sample in enumerate(manifest.samples)
        if state_N[row] != PENDING and _stat(manifest.file(sample)) != tuple(stats_N2[row].tolist())
    ]


def _is_complete(folder: Path, wanted: dict[str, object]) -> bool:
    said = described(folder / COMPLETE) or {}
    return {name: said.get(name) for name in wanted} == json_like(wanted)


def _open_again(folder: Path, wanted: dict[str, object]) -> None:
    """A complete cache of which files have changed is one that is being filled."""
    if _is_complete(folder, wanted):
        (folder / COMPLETE).rename(folder / FILLING)
        (folder / FILLING).write_text(json.dumps(wanted), encoding="utf-8")


def _fill(files: CacheFiles, manifest: Manifest, pool: DecodePool, workers: int) -> Iterator[int]:
    rows = iter(files.pending())
    with (
        ThreadPoolExecutor(workers + _AHEAD) as threads,
        (files.folder / _REASONS).open("a", encoding="utf-8") as reasons,
    ):
        # A few at a time: a pyramid of 2048 takes six megabytes, and a queue of all would hold them all.
        jobs: dict[Future[str | None], int] = {}
        while True:
            for row in islice(rows, workers + _AHEAD - len(jobs)):
                jobs[threads.submit(_cache_one, files, manifest, row, pool)] = row
            if not jobs:
                return
            for job in wait(jobs, return_when=FIRST_COMPLETED).done:
                row, refused = jobs.pop(job), job.result()
                if refused is not None:
                    reasons.write(json.dumps({"row": row, "detail": refused}) + "\n")
                    reasons.flush()
                files.mark(row, DONE if refused is None else BAD)
                yield row


def _cache_one(files: CacheFiles, manifest: Manifest, row: int, pool: DecodePool) -> str | None:
    """Why the film of `row` was refused, None if it is cached."""
    path = manifest.file(manifest.samples[row])
    files[_STATS][row] = _stat(path)
    files[_HASHES][row] = 0
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            return f"{path.stat().st_size} bytes, more than a film has"
        data = path.read_bytes()
        files[_HASHES][row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        prepared = pool.prepare(data)
    except NotReady:
        raise
    except (CxrserveError, OSError) as error:
        return str(error.detail if isinstance(error, CxrserveError) else error.strerror)
    for size, level_SS in prepared.levels.items():
        files[level_file(size)][row] = level_SS
    return None


def _stat(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; (-1, -1) where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _content_sha256(files: CacheFiles) -> str:
    digest = hashlib.sha256(json.dumps(files.wanted, sort_keys=True).encode())
    files.flush()
    digest.update(files.state_N.tobytes())
    digest.update(files[_HASHES].tobytes())
    return digest.hexdigest()
