"""A Manifest: what a run is trained on, in one fixed order, with a hash of its content.

Legend: N images, F findings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import NAMES
from training.datasets.faults import Fault
from training.datasets.sample import Labels, Sample

COLUMNS: Final = (
    *("path", "patient_id", "study_id", "image_id", "view", "sex", "age", "rows", "columns", "split"),
    *NAMES,
)


# eq=False: compare `sha256`.
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Manifest:
    """The samples of one dataset, made by `new_manifest`.

    Attributes:
        source: which dataset, e.g. "mimic-cxr-jpg".
        root: the folder that the samples' paths start from; not part of the hash.
        samples: N, sorted by path; image_id is unique.
        annotated: the findings that the source says anything about. A NaN among them means "not mentioned";
            for the others nothing is known, and every policy masks them.
        faults: the rows that were left out.
        sha256: of source, annotated and samples; the same in whatever order and place they were read. The
            images' bytes are not part of it.
    """

    source: str
    root: Path
    samples: tuple[Sample, ...]
    annotated: tuple[str, ...]
    faults: tuple[Fault, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.samples)

    def labels_NF(self) -> Labels:
        """Labels as in the source, float32 [N, 14]: 1, 0, -1 or NaN."""
        if not self.samples:
            return np.empty((0, len(NAMES)), np.float32)
        return np.stack([sample.labels_F for sample in self.samples])

    def file(self, sample: Sample) -> Path:
        return self.root / sample.path

    def subset(self, keep_N: NDArray[np.bool_]) -> Manifest:
        """The samples where `keep_N` (bool [N]) is true, with a hash of their own."""
        samples = tuple(sample for sample, keep in zip(self.samples, keep_N, strict=True) if keep)
        return replace(self, samples=samples, sha256=content_hash(self.source, self.annotated, samples))


def new_manifest(
    *, source: str, root: Path, samples: Iterable[Sample], annotated: tuple[str, ...], faults: Iterable[Fault]
) -> Manifest:
    """A manifest of `samples`, sorted; of an image listed twice the first one stays, the other is a fault."""
    unique: dict[str, Sample] = {}
    twice = [sample for sample in samples if unique.setdefault(sample.image_id, sample) is not sample]
    ordered = tuple(sorted(unique.values(), key=lambda sample: sample.path))
    # `samples` may be a generator that adds to `faults` while it runs: read `faults` only now.
    return Manifest(
        source=source,
        root=root,
        samples=ordered,
        annotated=annotated,
        faults=(*faults, *map(_listed_twice, twice)),
        sha256=content_hash(source, annotated, ordered),
    )


def _listed_twice(sample: Sample) -> Fault:
    return Fault(where=sample.path, reason="image listed twice", detail=sample.image_id)


def content_hash(source: str, annotated: tuple[str, ...], samples: Iterable[Sample]) -> str:
    """SHA-256 of source, annotated and the rows of `samples` in their order.

    Rows are joined by tabs: how `csv` quotes depends on Python's version, and no cell holds a tab or a line's
    end (`Sample`).
    """
    digest = hashlib.sha256(json.dumps([1, source, annotated, COLUMNS]).encode())
    for sample in samples:
        digest.update(("\t".join(row_of(sample)) + "\n").encode())
    return digest.hexdigest()


# A look-up, for speed: MIMIC-CXR-JPG has 5.3 million labels.
_LABEL_TEXT: Final = {1.0: "1", 0.0: "0", -1.0: "-1"}


def row_of(sample: Sample) -> tuple[str, ...]:
    """The cells of one sample, in the order of `COLUMNS`."""
    return (
        sample.path,
        sample.patient_id,
        sample.study_id,
        sample.image_id,
        sample.view,
        sample.sex,
        "" if sample.age is None else f"{sample.age:g}",
        "" if sample.rows is None else str(sample.rows),
        "" if sample.columns is None else str(sample.columns),
        sample.split or "",
        *[_LABEL_TEXT.get(label, "") for label in sample.labels_F.tolist()],
    )
