"""A Split: which images are trained on, which validate, which test; no patient in two parts."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.files import write_atomically
from training.datasets.faults import DatasetError
from training.datasets.manifest import Manifest
from training.datasets.sample import Part

Unit = Literal["patient", "row"]
FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Image ids of the three parts, each sorted; made by `training.datasets.make_splits`.

    Attributes:
        rule: how it was made, in words.
        unit: "row" where one patient may stand in two parts.
        manifest_sha256: of the manifest that it divides.
    """

    rule: str
    unit: Unit
    manifest_sha256: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of everything above."""
        return hashlib.sha256(json.dumps(_fields(self), sort_keys=True).encode()).hexdigest()

    def positions(self, manifest: Manifest) -> dict[Part, NDArray[np.int64]]:
        """Positions of each part's images in `manifest.samples`, int64, ascending.

        Raises:
            DatasetError: the split is not of this manifest, or does not hold each of its images once.
        """
        if manifest.sha256 != self.manifest_sha256:
            raise DatasetError(
                f"the split ({self.rule}) is of the manifest {self.manifest_sha256[:12]}, this one is "
                f"{manifest.sha256[:12]}; split it again"
            )
        row_of = {sample.image_id: index for index, sample in enumerate(manifest.samples)}
        if sorted(row_of) != sorted(image_id for _, ids in _parts(self) for image_id in ids):
            raise DatasetError(f"the split ({self.rule}) does not hold each image just once; split it again")
        return {
            part: np.sort(np.array([row_of[image_id] for image_id in ids], np.int64))
            for part, ids in _parts(self)
        }


def shared_patients(split: Split, manifest: Manifest) -> list[str]:
    """Patients who stand in more than one part, sorted."""
    parts_of: dict[str, set[Part]] = defaultdict(set)
    for part, positions in split.positions(manifest).items():
        for position in positions:
            parts_of[manifest.samples[position].patient_id].add(part)
    return sorted(patient for patient, parts in parts_of.items() if len(parts) > 1)


def check_across(splits: Sequence[Split], manifests: Sequence[Manifest]) -> None:
    """Refuse splits of several datasets that leave a part empty, or put a patient into different parts.

    Raises:
        DatasetError: with an example.
    """
    empty = [
        part for part, ids in _parts(splits[0]) if not any(dict(_parts(split))[part] for split in splits)
    ]
    if empty:
        raise DatasetError(
            f"the splits ({splits[0].rule}) leave {' and '.join(empty)} empty: too few patients for them, "
            "or a split table without that part"
        )
    part_of: dict[str, Part] = {}
    for split, manifest in zip(splits, manifests, strict=True):
        for part, positions in split.positions(manifest).items():
            for position in positions:
                patient = manifest.samples[position].patient_id
                if part_of.setdefault(patient, part) != part and split.unit == "patient":
                    raise DatasetError(
                        f"patient {patient} is in {part_of[patient]} of one dataset and in {part} of "
                        f"{manifest.source} ({split.rule}); set data.split.kind to patient-folds or random"
                    )


def check_split(split: Split, manifest: Manifest, *, may_be_empty: bool = False) -> None:
    """Refuse a split that leaks, that is of another manifest, or that has an empty part.

    Args:
        may_be_empty: parts may be empty, as those of one of several datasets.

    Raises:
        DatasetError: as said; with an example.
    """
    empty = [part for part, ids in _parts(split) if not ids]
    if empty and not may_be_empty:
        raise DatasetError(
            f"the split ({split.rule}) leaves {' and '.join(empty)} empty: too few patients for it, or a "
            "split table without that part"
        )
    shared = shared_patients(split, manifest) if split.unit == "patient" else []
    if shared:
        raise DatasetError(
            f"{len(shared)} patients stand in more than one part of the split ({split.rule}), such as "
            f"{shared[0]}; split by patient"
        )


def write_split(split: Split, path: Path) -> None:
    """Write `split` as JSON."""
    write_atomically(
        path, json.dumps({"format": FORMAT, **_fields(split), "sha256": split.sha256}, indent=1) + "\n"
    )


def read_split(path: Path, manifest: Manifest) -> Split:
    """The split that `write_split` wrote, checked against the manifest that it divides.

    Raises:
        DatasetError: it cannot be read, was changed, is of another manifest, or does not hold up.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        split = Split(
            rule=stored["rule"],
            unit=stored["unit"],
            manifest_sha256=stored["manifest_sha256"],
            train=tuple(stored["train"]),
            validation=tuple(stored["validation"]),
            test=tuple(stored["test"]),
        )
        if (stored["format"], stored["sha256"]) != (FORMAT, split.sha256):
            raise ValueError(f"its SHA-256 is {split.sha256}, it says {stored['sha256']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: no split that can be used ({error!r}); split the data again") from error
    check_split(split, manifest, may_be_empty=True)
    return split


def read_parts(path: Path) -> dict[Part, frozenset[str]]:
    """Image ids of each part of the split in a file, of whatever manifest.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {
            "train": frozenset(stored["train"]),
            "validate": frozenset(stored["validation"]),
            "test": frozenset(stored["test"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: no split that can be used ({error!r})") from error


def _parts(split: Split) -> tuple[tuple[Part, tuple[str, ...]], ...]:
    return ("train", split.train), ("validate", split.validation), ("test", split.test)


def _fields(split: Split) -> dict[str, object]:
    names = ("rule", "unit", "manifest_sha256", "train", "validation", "test")
    return {name: getattr(split, name) for name in names}
