"""Check of early decisions on images that neither fitted nor calibrated them: their work, their errors.

Legend: A arithmetics (engine and precision), N images, F findings, S scales.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.triage_calibration import TriageCalibration, TriageCheck
from cxrserve.ensemble.stack import stacked
from cxrserve.ensemble.triage import Guarantee, Triage
from cxrserve.findings import NAMES

Floats = NDArray[np.float64]
GUARANTEES: Final[tuple[Guarantee, ...]] = ("exact", "conformal")
# Of a two-sided interval of 95 %, outside each end.
_TAIL: Final = 0.025


def decided(
    calibration: TriageCalibration | None,
    logits_FS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
    findings: Collection[int],
    guarantee: Guarantee,
    epsilon: float,
) -> Triage:
    """`Triage` over one image, told what it asks for from logits [F, S] that are already there."""
    triage = Triage(
        sizes,
        weights_FS,
        thresholds_F,
        findings=findings,
        guarantee=guarantee,
        calibration=calibration,
        epsilon=epsilon,
    )
    while (size := triage.next_size()) is not None:
        triage.record(size, logits_FS[:, sizes.index(size)])
    return triage


def check_triage(
    calibration: TriageCalibration,
    logits_ANFS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
    *,
    data: str,
    epsilon: float,
    single_findings: Sequence[int] | None = None,
    guarantees: Sequence[Guarantee] = GUARANTEES,
) -> tuple[TriageCheck, ...]:
    """Decide every image with `Triage` itself: all findings at once, then each finding by itself.

    An image differs where it does with any of the arithmetics; its work is their mean.

    Args:
        single_findings: those that are decided by themselves; None for each known one.
    """
    known = np.flatnonzero(~np.isnan(thresholds_F)).tolist()
    singles = known if single_findings is None else single_findings
    requests: list[tuple[str, list[int]]] = [
        ("all", known),
        *((NAMES[finding], [finding]) for finding in singles),
    ]
    # One image at a time, as the full ensemble is served: the same sums to the last bit.
    full_ANF = np.array(
        [
            [stacked(logits_FS[None], weights_FS)[0] >= thresholds_F for logits_FS in arithmetic_NFS]
            for arithmetic_NFS in logits_ANFS
        ]
    )
    checks: list[TriageCheck] = []
    for guarantee in guarantees:
        for name, findings in requests:
            work: list[float] = []
            differs_N = np.zeros(logits_ANFS.shape[1], np.bool_)
            for logits_NFS, full_NF in zip(logits_ANFS, full_ANF, strict=True):
                for image, (logits_FS, full_F) in enumerate(zip(logits_NFS, full_NF, strict=True)):
                    triage = decided(
                        calibration, logits_FS, weights_FS, thresholds_F, sizes, findings, guarantee, epsilon
                    )
                    work.append(triage.work)
                    differs_N[image] |= bool((triage.positive_F != full_F)[findings].any())
            differing, images = int(differs_N.sum()), len(differs_N)
            low, high = clopper_pearson(differing, images)
            checks.append(
                TriageCheck(
                    guarantee=guarantee,
                    epsilon=epsilon if guarantee == "conformal" else None,
                    findings=name,
                    data=data,
                    images=images,
                    differing=differing,
                    differing_above=round(low, 6),
                    differing_below=round(high, 6),
                    work=round(float(np.mean(work)), 4),
                    work_worst=round(max(work), 4),
                )
            )
    return tuple(checks)


def clopper_pearson(events: int, trials: int) -> tuple[float, float]:
    """Both ends of the two-sided 95 % interval of a share (Clopper and Pearson 1934)."""
    return 1 - _upper(trials - events, trials), _upper(events, trials)


def _upper(events: int, trials: int) -> float:
    """The share of which so few events or fewer are as rare as the tail, by bisection."""
    if events == trials:
        return 1.0
    low, high = events / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(events, trials, middle) > _TAIL else (low, middle)
    return high


def _at_most(events: int, trials: int, share: float) -> float:
    """P(X ≤ events) of a binomial."""
    k = np.arange(events)
    steps = np.log((trials - k) / (k + 1)) + np.log(share) - np.log1p(-share)
    logs = trials * np.log1p(-share) + np.concatenate([[0.0], np.cumsum(steps)])
    return float(np.exp(np.logaddexp.reduce(logs)))
