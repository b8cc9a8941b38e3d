"""Early decisions of a bundle: fitted on validation images, calibrated and checked on the test's.

The validation images chose the networks' epochs, the stack and the operating points, so a new patient's are
not exchangeable with them: no margin can be measured there. The test images fitted nothing, and no label of
theirs is needed. Half of their patients measure the margins and the other half check, one image of each.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Contract
from cxrserve.bundle.triage_calibration import Arithmetic, TriageCalibration
from cxrserve.ensemble.calibration import score_thresholds
from training.cache import PyramidCache
from training.triage.calibrate import FEWEST, calibrate, fit_early_decisions
from training.triage.check import check_triage

Floats = NDArray[np.float64]
# Of more images, these many, at even distances: a tail of a thousandth needs no more.
MAX_IMAGES: Final = 1000
# The promise that is checked, or the tightest one that the images allow.
EPSILON: Final = 0.001


def chosen(count: int) -> list[int]:
    """Positions of at most `MAX_IMAGES` of `count` images, at even distances."""
    return [int(position) for position in np.unique(np.linspace(0, count - 1, MAX_IMAGES).astype(int))]


def early_decisions(logits_NFS: Floats, contract: Contract, data: str) -> TriageCalibration | None:
    """Fitted on logits [N, F, S] of the path that serves; no margins yet.

    None where one scale decides alone, or the images are too few to predict anything.
    """
    if len(contract.members) < 2 or len(logits_NFS) < FEWEST:
        return None
    weights_FS, thresholds_F = _stack(contract)
    return fit_early_decisions(logits_NFS, weights_FS, thresholds_F, contract.preprocessing.sizes, data=data)


def calibrated(
    calibration: TriageCalibration,
    logits_NFS: Floats,
    patient_N: NDArray[np.int64],
    contract: Contract,
    data: str,
    *,
    arithmetic: Arithmetic,
    caveats: tuple[str, ...] = (),
) -> TriageCalibration:
    """`calibration` with margins from half of the patients, and checked on the other half's images.

    Args:
        logits_NFS: of images that fitted nothing, by the path that serves.
        patient_N: equal for images of one patient, of whom one image counts.
        data: the images, in words.
        arithmetic: what computed the logits.

    Returns:
        `calibration` itself where there are fewer than two patients.
    """
    rows = one_a_patient(patient_N)
    measured, checked = np.split(rows, [(len(rows) + 1) // 2])
    checked = checked[:MAX_IMAGES]
    if not len(checked):
        return calibration
    weights_FS, thresholds_F = _stack(contract)
    sizes = contract.preprocessing.sizes
    with_margins = calibrate(
        calibration,
        logits_NFS[None, measured],
        weights_FS,
        thresholds_F,
        sizes,
        data=f"{len(measured)} {data}, one a patient",
        arithmetics=(arithmetic,),
        caveats=caveats,
    )
    checks = check_triage(
        with_margins,
        logits_NFS[None, checked],
        weights_FS,
        thresholds_F,
        sizes,
        data=f"{len(checked)} {data}, one a patient, others",
        epsilon=max(EPSILON, 1 / (with_margins.images + 1)),
    )
    return with_margins.model_copy(update={"checked": checks})


def patients(images: PyramidCache) -> NDArray[np.int64]:
    """Equal numbers for images of one patient, int64 [N]; phantoms are each their own."""
    if not images.records:
        return np.arange(len(images))
    return np.unique([sample.patient_id for sample in images.records], return_inverse=True)[1].astype(
        np.int64
    )


def one_a_patient(patient_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """A row of each patient, drawn at random, in a random order that is always the same."""
    shuffled = np.random.default_rng(0).permutation(len(patient_N))
    _, first = np.unique(patient_N[shuffled], return_index=True)
    return shuffled[np.sort(first)]


def _stack(contract: Contract) -> tuple[Floats, Floats]:
    """Weights [F, S] and thresholds of scores [F], NaN where no member supports the finding."""
    return np.array(contract.stack, np.float64), score_thresholds(contract)
