"""Salted hashes of a bundle's patients: who trained, validated and tested it, without their ids.

An evaluation can so tell whether its images are of people that the bundle has learnt from. A hash is 8 bytes
of SHA-256 over salt, family of datasets and patient id: an id of MIMIC-CXR is one person as JPEG and as
DICOM, an id of CheXpert in each of its releases.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.datasets.faults import DatasetError
from training.datasets.manifest import Manifest
from training.datasets.sample import Part
from training.datasets.split import Split

FILE: Final = "patients.json"
FORMAT: Final = 1
_BYTES: Final = 8
# Releases of the same patients under the same ids.
_FAMILIES: Final = ("mimic", "chexpert")
_PARTS: Final[tuple[Part, ...]] = ("train", "validate", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Patients:
    """The patients of a bundle.

    Attributes:
        salt: of the hashes.
        parts: hashes of the patients who trained, validated and tested it.
    """

    salt: str
    parts: Mapping[Part, frozenset[bytes]]

    @property
    def learnt_from(self) -> frozenset[bytes]:
        """Hashes of the patients who trained or validated."""
        return self.parts["train"] | self.parts["validate"]

    def hash_of(self, source: str, patient_id: str) -> bytes:
        """The hash of a patient of the dataset `source`."""
        return patient_hash(self.salt, source, patient_id)

    def learnt(self, manifest: Manifest) -> frozenset[str]:
        """Ids of the patients of `manifest` who trained or validated the bundle."""
        ids = {sample.patient_id for sample in manifest.samples}
        return frozenset(name for name in ids if self.hash_of(manifest.source, name) in self.learnt_from)


def patient_hash(salt: str, source: str, patient_id: str) -> bytes:
    """8 bytes of SHA-256 over salt, family of datasets and patient id."""
    family = next((name for name in _FAMILIES if source.startswith(name)), source)
    return hashlib.sha256(f"{salt}\0{family}\0{patient_id}".encode()).digest()[:_BYTES]


def patients_of_split(manifests: Sequence[Manifest], splits: Sequence[Split], salt: str) -> Patients:
    """The patients of one fold of several datasets."""
    parts: dict[Part, set[bytes]] = {part: set() for part in _PARTS}
    for manifest, split in zip(manifests, splits, strict=True):
        for part, positions in split.positions(manifest).items():
            ids = {manifest.samples[position].patient_id for position in positions}
            parts[part].update(patient_hash(salt, manifest.source, patient_id) for patient_id in ids)
    return Patients(salt=salt, parts={part: frozenset(hashes) for part, hashes in parts.items()})


def write_patients(patients: Patients, folder: Path) -> Path:
    """Write `patients.json` into a bundle's folder."""
    parts = {part: _packed(patients.parts[part]) for part in _PARTS}
    path = folder / FILE
    path.write_text(json.dumps({"format": FORMAT, "salt": patients.salt, **parts}) + "\n", encoding="utf-8")
    return path


def read_patients(folder: Path) -> Patients | None:
    """The patients of the bundle in `folder`; None where it does not say.

    Raises:
        DatasetError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {FORMAT}")
        return Patients(salt=str(content["salt"]), parts={part: _unpacked(content[part]) for part in _PARTS})
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not the patients of a bundle ({error})") from error


def _packed(hashes: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(hashes))).decode()


def _unpacked(text: str) -> frozenset[bytes]:
    data = base64.b64decode(text, validate=True)
    return frozenset(data[start : start + _BYTES] for start in range(0, len(data), _BYTES))
