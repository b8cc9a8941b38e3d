"""Making splits: by patient, in folds or at random; as the dataset's authors did; by row only for comparison.

Patients are ranked by the SHA-256 of seed, purpose and patient id, and the ranking is cut. So a split is the
same on every machine and with every version of Python and NumPy, whatever the order of the tables; NumPy does
not promise that of its random streams (NEP 19). Shares are shares of patients.

Several datasets may have patients in common, as MIMIC-CXR's DICOM and JPEG releases do. Their splits rank the
`patients` of all of them together, so that one id is in the same part of each.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence

from training.datasets.faults import DatasetError
from training.datasets.manifest import Manifest
from training.datasets.sample import Part
from training.datasets.split import Split, Unit, check_split, shared_patients

_logger = logging.getLogger(__name__)


def fold_splits(
    manifest: Manifest,
    seed: int,
    *,
    folds: int = 5,
    validation_share: float = 0.1,
    patients: Iterable[str] | None = None,
) -> tuple[Split, ...]:
    """Cross-validation: each patient is tested in exactly one fold; of a fold's others a share validates.

    Five folds, 20 % test and of the rest 90/10: Haque et al. 2021, "Experimental setup".

    Raises:
        DatasetError: too few patients for it.
        ValueError: fewer than two folds, or a share outside 0 to 1.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; expected at least 2")
    ranked = _ranked(patients or patients_of([manifest]), seed, "folds")
    cuts = [len(ranked) * fold // folds for fold in range(folds + 1)]
    splits = []
    for fold in range(folds):
        rest = _ranked([*ranked[: cuts[fold]], *ranked[cuts[fold + 1] :]], seed, f"validation of fold {fold}")
        validating = _count(len(rest), validation_share)
        rule = (
            f"fold {fold + 1} of {folds} by patient, validation {validation_share:g} of the rest, seed {seed}"
        )
        test = ranked[cuts[fold] : cuts[fold + 1]]
        parts = rest[validating:], rest[:validating], test
        splits.append(_by_patient(manifest, rule, *parts, may_be_empty=patients is not None))
    return tuple(splits)


def random_split(
    manifest: Manifest,
    seed: int,
    *,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    patients: Iterable[str] | None = None,
) -> Split:
    """80/10/10 by patient: xclassifier's shares, without its leak.

    Raises:
        DatasetError: too few patients for it.
        ValueError: a share outside 0 to 1.
    """
    ranked = _ranked(patients or patients_of([manifest]), seed, "random")
    rule = f"by patient, validation {validation_share:g}, test {test_share:g}, seed {seed}"
    return _by_patient(
        manifest, rule, *_cut(ranked, validation_share, test_share), may_be_empty=patients is not None
    )


def row_split(
    manifest: Manifest, seed: int, *, validation_share: float = 0.1, test_share: float = 0.1
) -> Split:
    """A split by image, as xclassifier's code made it: to compare with its numbers, never for a model in use.

    Raises:
        DatasetError: too few images for it.
        ValueError: a share outside 0 to 1.
    """
    ranked = _ranked([sample.image_id for sample in manifest.samples], seed, "rows")
    rule = f"by row, validation {validation_share:g}, test {test_share:g}, seed {seed}"
    split = _checked(manifest, rule, *_cut(ranked, validation_share, test_share), unit="row")
    _logger.warning(
        "split by row: %d of %d patients stand in more than one part. Other films of the same person leak "
        "into the test, and its numbers come out too high; split by patient for all but comparison",
        len(shared_patients(split, manifest)),
        len(patients_of([manifest])),
    )
    return split


def official_split(
    manifest: Manifest, seed: int, *, validation_share: float = 0.1, patients: Iterable[str] | None = None
) -> Split:
    """The parts of the dataset's authors; where none of them validates, a share of their training patients.

    MIMIC-CXR's split table; CheXpert's valid.csv as the test; NIH's train_val_list and test_list.

    Raises:
        DatasetError: an image belongs to no part, a part is empty, or a patient stands in two.
        ValueError: a share outside 0 to 1.
    """
    without = [sample.image_id for sample in manifest.samples if sample.split is None]
    if without:
        raise DatasetError(
            f"{len(without)} of {len(manifest)} images of {manifest.source} belong to no official part, such "
            f"as {without[0]}; its split table is absent or incomplete. Fetch it, or split by patient"
        )
    rule, validating = "official", set[str]()
    if all(sample.split != "validate" for sample in manifest.samples):
        rule = f"official, validation {validation_share:g} of the training patients, seed {seed}"
        ranked = _ranked(patients or patients_of([manifest], "train"), seed, "official validation")
        validating.update(ranked[: _count(len(ranked), validation_share)])
    images: dict[Part | None, list[str]] = defaultdict(list)
    for sample in manifest.samples:
        moved = sample.split == "train" and sample.patient_id in validating
        images["validate" if moved else sample.split].append(sample.image_id)
    return _checked(
        manifest,
        rule,
        images["train"],
        images["validate"],
        images["test"],
        may_be_empty=patients is not None,
    )


def patients_of(manifests: Iterable[Manifest], part: Part | None = None) -> list[str]:
    """Patient ids of all manifests, sorted; with `part`, of the images in that official part."""
    return sorted(
        {
            sample.patient_id
            for manifest in manifests
            for sample in manifest.samples
            if part is None or sample.split == part
        }
    )


def _ranked(ids: Iterable[str], seed: int, purpose: str) -> list[str]:
    salt = f"{seed}\0{purpose}\0"
    return sorted(ids, key=lambda name: hashlib.sha256(f"{salt}{name}".encode()).digest())


def _count(total: int, share: float) -> int:
    """`share` of `total`, at least one of them."""
    if not 0 < share < 1:
        raise ValueError(f"a share of {share:g} was asked for; expected one between 0 and 1")
    return max(1, round(total * share))


def _cut(
    ranked: list[str], validation_share: float, test_share: float
) -> tuple[list[str], list[str], list[str]]:
    validating, testing = _count(len(ranked), validation_share), _count(len(ranked), test_share)
    return ranked[validating + testing :], ranked[:validating], ranked[validating : validating + testing]


def _by_patient(
    manifest: Manifest,
    rule: str,
    train: Sequence[str],
    validation: Sequence[str],
    test: Sequence[str],
    *,
    may_be_empty: bool = False,
) -> Split:
    images: dict[str, list[str]] = defaultdict(list)
    for sample in manifest.samples:
        images[sample.patient_id].append(sample.image_id)

    def of(patients: Sequence[str]) -> list[str]:
        return [image_id for patient in patients for image_id in images[patient]]

    return _checked(manifest, rule, of(train), of(validation), of(test), may_be_empty=may_be_empty)


def _checked(
    manifest: Manifest,
    rule: str,
    train: Iterable[str],
    validation: Iterable[str],
    test: Iterable[str],
    unit: Unit = "patient",
    may_be_empty: bool = False,
) -> Split:
    split = Split(
        rule=rule,
        unit=unit,
        manifest_sha256=manifest.sha256,
        train=tuple(sorted(train)),
        validation=tuple(sorted(validation)),
        test=tuple(sorted(test)),
    )
    check_split(split, manifest, may_be_empty=may_be_empty)
    return split
