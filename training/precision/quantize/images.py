"""The images that calibrate a variant, and those that judge it, as they are served."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.reports.progress import progress_bar
from training.cache import cache_images, cache_phantoms, open_cache, open_films, undecodable
from training.datasets import DatasetError, Manifest, read_dataset
from training.datasets.labels import LabelPolicy, apply_policy
from training.datasets.manifest import new_manifest
from training.datasets.sample import Sample
from training.datasets.samples import Samples

# Of films given without labels, the share that judges what the others calibrated.
CHECKED: Final = 0.25
FEWEST: Final = 8
CACHE: Final = "cache:"
# Images that judge float16 on ONNX Runtime, where a CPU takes seconds for one of 2048.
HALVES: Final = 64
# Images that calibrate; more take longer and say the same.
CALIBRATE: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """Some images: `rows` of `samples`, and what they are in words."""

    samples: Samples
    rows: Sequence[int]
    description: str

    def thinned(self, limit: int) -> Part:
        """At most `limit` of them, spread evenly."""
        if limit >= len(self.rows):
            return self
        rows = [self.rows[index] for index in np.linspace(0, len(self.rows) - 1, limit).astype(int)]
        return Part(samples=self.samples, rows=rows, description=f"{limit} of {self.description}")

    def images(self, size: int) -> list[NDArray[np.uint8]]:
        """uint8 [size, size] each."""
        level = self.samples.level(size)
        return [np.ascontiguousarray(level[row]) for row in self.rows]

    @property
    def labels_NF(self) -> NDArray[np.float32]:
        """float32 [N, 14], NaN where nothing is known."""
        return self.samples.labels_NF[self.rows]

    def parted(self) -> tuple[Part, Part]:
        """Those that calibrate, and those that judge.

        Raises:
            RequestError: there are too few.
        """
        if len(self.rows) < FEWEST:
            raise RequestError(f"{len(self.rows)} films can be read; int8 needs at least {FEWEST}.")
        shuffled = np.random.default_rng(0).permutation(self.rows).tolist()
        count = max(2, round(len(shuffled) * CHECKED))
        judging, calibrating = sorted(shuffled[:count]), sorted(shuffled[count:])
        return (
            Part(samples=self.samples, rows=calibrating, description=self.description),
            Part(samples=self.samples, rows=judging, description=f"{count} held out of {self.description}"),
        )


def drawn(count: int, seed: int, preprocessing: Preprocessing, work: Path, console: Console) -> Part:
    """`count` phantoms from `seed` on, drawn into `work`."""
    folder = work / "phantoms"
    drawing = cache_phantoms(folder, seed, count, preprocessing, os.cpu_count() or 1)
    with progress_bar(console) as progress:
        for _ in progress.track(drawing, total=count, description="drawing phantoms"):
            pass
    description = f"{count} phantoms, seeds from {seed}"
    return Part(samples=open_cache(folder, preprocessing), rows=range(count), description=description)


def films_of(paths: Sequence[Path], preprocessing: Preprocessing, work: Path, console: Console) -> Part:
    """The films among `paths`, decoded into `work`; those that are refused are left out and counted."""
    files = [
        file.resolve()
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    ]
    unsaid = np.full(len(NAMES), np.nan, np.float32)
    root = Path("/")
    samples = [
        Sample(
            path=str(file.relative_to(root)),
            patient_id=str(number),
            study_id=str(number),
            image_id=str(number),
            labels_F=unsaid,
        )
        for number, file in enumerate(dict.fromkeys(files))
    ]
    manifest = new_manifest(source="films", root=root, samples=samples, annotated=(), faults=())
    return _decoded(manifest, preprocessing, work / "films", "films", console)


def labelled_of(spec: str, preprocessing: Preprocessing, work: Path, console: Console) -> Part:
    """The images of `spec`, KIND:PATH or cache:FOLDER, with their labels; uncertain ones count as negative.

    Raises:
        RequestError: it names no data.
    """
    try:
        if spec.startswith(CACHE):
            folder = Path(spec.removeprefix(CACHE))
            samples = open_cache(folder, preprocessing)
            description = f"{len(samples)} phantoms of {folder.name}"
            return Part(samples=samples, rows=range(len(samples)), description=description)
        manifest = read_dataset(spec)
    except (DatasetError, OSError, ValueError) as error:
        raise RequestError(f"--labelled {spec[:200]!r} cannot be read: {error}") from error
    return _decoded(manifest, preprocessing, work / "labelled", spec.partition(":")[0], console)


def _decoded(
    manifest: Manifest, preprocessing: Preprocessing, folder: Path, description: str, console: Console
) -> Part:
    workers = os.cpu_count() or 1
    with progress_bar(console) as progress:
        decoding = cache_images(folder, manifest, preprocessing, workers)
        for _ in progress.track(decoding, total=len(manifest), description=f"decoding {description}"):
            pass
    bad = undecodable(folder, manifest)
    if bad:
        console.print(f"{len(bad)} of {len(manifest)} files were refused or are no films; `predict` says why")
    good = [row for row in range(len(manifest)) if row not in bad]
    targets_NF, mask_NF = apply_policy(manifest.labels_NF(), LabelPolicy(), manifest.annotated)
    labels_NF = np.where(mask_NF, targets_NF, np.float32(np.nan))[good].astype(np.float32)
    if not good:
        return Part(samples=open_films([], [], [], labels_NF, ()), rows=(), description=description)
    readable = [manifest.samples[row] for row in good]
    samples = open_films([folder], [np.array(good)], [readable], labels_NF, preprocessing.sizes)
    return Part(samples=samples, rows=range(len(good)), description=f"{len(good)} {description}")
