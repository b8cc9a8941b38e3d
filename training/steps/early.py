"""Early decisions of a bundle: fitted on the validation images as it serves them, checked on the test's.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.bundle import Contract, EarlyDecisions, TriageCheck
from cxrserve.findings import INDEX, NAMES
from training.triage import FEWEST, check_triage, fit_early_decisions

Floats = NDArray[np.float64]
# Of more images, these many, at even distances: a tail of a thousandth needs no more.
MOST: Final = 1000
# The promise that is checked, or the tightest one that the images allow.
EPSILON: Final = 0.001


def chosen(count: int) -> list[int]:
    """Positions of at most `MOST` of `count` images, at even distances."""
    return [int(position) for position in np.unique(np.linspace(0, count - 1, MOST).astype(int))]


def early_decisions(logits_NFS: Floats, contract: Contract, data: str) -> EarlyDecisions | None:
    """Fitted and calibrated on logits [N, F, S] of the path that serves.

    None where one scale decides alone, or the images are too few to promise anything.
    """
    if len(contract.members) < 2 or len(logits_NFS) < FEWEST:
        return None
    weights_FS, thresholds_F = _stack(contract)
    return fit_early_decisions(
        logits_NFS, weights_FS, thresholds_F, contract.preprocessing.sizes, data=data, seed=0
    )


def checks(
    early: EarlyDecisions, logits_NFS: Floats, contract: Contract, data: str
) -> tuple[TriageCheck, ...]:
    """What the early decisions save, and how often they differ from the full ensemble's."""
    logits_NFS = logits_NFS[chosen(len(logits_NFS))]
    weights_FS, thresholds_F = _stack(contract)
    return check_triage(
        early,
        logits_NFS,
        weights_FS,
        thresholds_F,
        contract.preprocessing.sizes,
        data=f"{len(logits_NFS)} {data}",
        epsilon=max(EPSILON, 1 / (early.images + 1)),
        alone=[INDEX[name] for name in NAMES if name not in contract.unavailable],
    )


def _stack(contract: Contract) -> tuple[Floats, Floats]:
    """Weights [F, S] and thresholds [F], NaN for findings that nobody judges, as the Predictor has them."""
    points = contract.operating_points
    thresholds = [points[name].threshold if name in points else np.nan for name in NAMES]
    return np.array(contract.stack, np.float64), np.array(thresholds, np.float64)
