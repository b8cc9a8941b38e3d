"""Image files as samples: decoded by the workers that decode for the service, a few ahead of time.

Legend: N images, S side of a level.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial as partial_call
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import ImageError, RequestError
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.workers import DecodePool
from cxrserve.settings import Settings
from training.cache.images import file_stat
from training.datasets.faults import Fault
from training.datasets.labels import LabelPolicy, apply_policy
from training.datasets.manifest import Manifest
from training.datasets.sample import Sample
from training.report.partial_scores import PartialScores
from training.report.score_images import Job, score_images
from training.report.scores import Scores, Track, fill, scores_of

READ_AHEAD: Final = 2  # besides those that the workers decode at the moment
# Pyramids kept after use: what one image's sizes are asked for one after the other.
CACHED_PYRAMIDS: Final = 4
Levels = dict[int, NDArray[np.uint8]]


class FileSamples:
    """The images of a manifest, read when they are asked for: `training.datasets.samples.Samples`."""

    locations_NFGG: NDArray[np.uint8] | None = None

    def __init__(self, pool: DecodePool, manifest: Manifest, policy: LabelPolicy, workers: int) -> None:
        targets_NF, mask_NF = apply_policy(manifest.labels_NF(), policy, manifest.annotated)
        self.manifest = manifest
        self.labels_NF: NDArray[np.float32] = np.where(mask_NF, targets_NF, np.float32(np.nan))
        studies = [sample.study_id for sample in manifest.samples]
        self.study_N: NDArray[np.int64] = np.unique(studies, return_inverse=True)[1].astype(np.int64)
        self._pool = pool
        self._paths = [manifest.file(sample) for sample in manifest.samples]
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._ahead = workers + READ_AHEAD
        self._coming: dict[int, Future[Levels]] = {}
        self._kept: dict[int, Levels] = {}

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def records(self) -> tuple[Sample, ...]:
        """The tables' facts about each image."""
        return tuple(self.manifest.samples)

    def stats(self) -> list[tuple[int, int]]:
        """Size in bytes and time of change in nanoseconds of each file; (-1, -1) where there is none."""
        return [file_stat(path) for path in self._paths]

    def level(self, size: int) -> NDArray[np.uint8]:
        """Images of side `size`, indexed as a NumPy array is along its first axis."""
        return cast("NDArray[np.uint8]", _Rows(self, size))

    def pyramid(self, index: int, *, prefetch: bool = False) -> Levels:
        """All levels of one image; `prefetch` begins with the next ones.

        Raises:
            ImageError, RequestError: the file is refused.
        """
        if index not in self._kept:
            for earlier in [number for number in self._coming if number < index]:
                self._coming.pop(earlier).cancel()  # read ahead, and not asked for
            for following in range(index, min(index + 1 + (self._ahead if prefetch else 0), len(self))):
                if following not in self._coming:
                    self._coming[following] = self._threads.submit(self._read, self._paths[following])
            self._kept[index] = self._coming.pop(index).result()
            while len(self._kept) > CACHED_PYRAMIDS:
                del self._kept[next(iter(self._kept))]
        return self._kept[index]

    def _read(self, path: Path) -> Levels:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RequestError(f"the file cannot be read: {error.strerror}.") from error
        return self._pool.prepare(data).levels

    def keep(self, keep_N: NDArray[np.bool_]) -> None:
        """Forget the images where `keep_N` (bool [N]) is false."""
        self.manifest = self.manifest.subset(keep_N)
        self._paths = [path for path, keep in zip(self._paths, keep_N, strict=True) if keep]
        self.labels_NF, self.study_N = self.labels_NF[keep_N], self.study_N[keep_N]
        self._kept.clear()
        self._coming.clear()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)


class _Rows:
    """One size of `FileSamples`, as far as an array of it is ever indexed."""

    def __init__(self, samples: FileSamples, size: int) -> None:
        self._samples, self._size = samples, size

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            positions = range(len(self))[key]
            return np.stack([self[index] for index in positions])
        return self._samples.pyramid(int(key))[self._size]


@contextmanager
def decoding(preprocessing: Preprocessing, settings: Settings) -> Iterator[DecodePool]:
    """A pool of decode workers as the service would start it."""
    limits = Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels)
    with DecodePool(
        preprocessing,
        limits,
        workers=settings.decode_workers,
        timeout_s=settings.decode_timeout_s,
        memory_bytes=settings.decode_memory_bytes,
    ) as pool:
        yield pool


def _same(levels: Levels) -> Levels:
    return levels


def score_files(
    predictor: Predictor, samples: FileSamples, data: str, track: Track, partial: Path | None = None
) -> tuple[Scores, list[Fault]]:
    """Scores of the files that can be judged, and why the others cannot.

    `samples` hold only the former afterwards.

    Args:
        predictor: from `open_for_many`.
        partial: folder for scores as they come; a call with the same folder continues a killed one.

    Raises:
        ValueError: not one can.
    """
    rows = PartialScores(partial, len(samples), predictor.sizes)
    pending = rows.pending()
    judged_N = np.ones(len(samples), np.bool_)
    faults: list[Fault] = []

    def jobs() -> Iterator[Job]:
        for index in pending:
            try:
                levels = samples.pyramid(index, prefetch=True)
            except (ImageError, RequestError) as error:
                where = samples.manifest.samples[index].path
                detail = f"{error.title}: {error.detail}"
                faults.append(Fault(where=where, reason="image cannot be decoded", detail=detail))
                judged_N[index] = False
                continue
            yield index, partial_call(_same, levels)

    fill(rows, score_images(predictor, jobs()), f"score {data}", len(pending), track)
    if not judged_N.any():
        raise ValueError(f"there is no image to score in {data}")
    samples.keep(judged_N)
    return scores_of(predictor, rows, samples, data, index_N=np.flatnonzero(judged_N)), faults
