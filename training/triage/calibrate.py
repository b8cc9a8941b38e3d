"""Calibration of early decisions: the order of the scales, and conformal margins.

No labels are needed: what counts is what the full ensemble would have decided. Three sets of images, no
patient in two of them (`cxrserve.ensemble.triage` says what follows from that):

1. Some fit the prediction of the ensemble's logit from the coarser scales, and try orders. They may have
   fitted other parts of the bundle too: a worse prediction only has wider margins.
2. Others measure how far a settled prediction lies on the wrong side. These must have fitted nothing, be it
   the networks, the choice of an epoch, the stack or an operating point, and come one a patient: only then
   is a new patient's image exchangeable with them, and the margin a bound.
3. The rest check (`training.triage.check`).

Legend: A arithmetics (engine and precision), N images, F findings, S scales, P predictors.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.triage_calibration import Arithmetic, Stage, TriageCalibration
from cxrserve.ensemble.stack import sigmoid, stacked
from cxrserve.ensemble.triage import logit, predicted_logits
from training.triage.check import GUARANTEES, decided

Floats = NDArray[np.float64]
# Of the scores measured, those above all that anybody would ask an ε for.
TAIL_SHARE: Final = 0.01
MIN_IN_TAIL: Final = 10
# Images of which fewer fit nothing worth having.
FEWEST: Final = 40
# What margins of phantoms are not.
OF_PHANTOMS: Final = (
    "The conformal margins were measured on phantoms: for radiographs of people epsilon is not guaranteed."
)
_RIDGE: Final = 1e-2
# Images on which orders of the scales, and predictions against bounds, are tried.
_TRIED_IMAGES: Final = 200


def fit_early_decisions(
    logits_NFS: Floats, weights_FS: Floats, thresholds_F: Floats, sizes: tuple[int, ...], *, data: str
) -> TriageCalibration:
    """Predictions and orders, fitted on logits [N, F, S] of `data`; no margins yet."""
    order, orders = _orders(logits_NFS[:_TRIED_IMAGES], weights_FS, thresholds_F, sizes)
    return TriageCalibration(
        data="nothing",
        images=0,
        fitted_on=data,
        order=order,
        orders=orders,
        predicts=(True,) * len(thresholds_F),
        stages=tuple(_fit_stage(logits_NFS, weights_FS, stage) for stage in range(1, len(sizes))),
    )


def calibrate(
    calibration: TriageCalibration,
    logits_ANFS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
    *,
    data: str,
    arithmetics: tuple[Arithmetic, ...],
    caveats: tuple[str, ...] = (),
) -> TriageCalibration:
    """`calibration` with margins, from logits [A, N, F, S] of images that fitted nothing, one a patient.

    Of each image the largest score over the arithmetics counts, so the margins hold for each of them.
    """
    scores_NF = np.max(
        [conformal_scores(calibration, logits_NFS, weights_FS, thresholds_F) for logits_NFS in logits_ANFS],
        axis=0,
    )
    count = len(scores_NF)
    reach = min(count, max(MIN_IN_TAIL, math.ceil((count + 1) * TAIL_SHARE)))
    calibration = calibration.model_copy(
        update={
            "data": data,
            "images": count,
            "arithmetics": arithmetics,
            "caveats": caveats,
            "worst": _worst(scores_NF, reach),
            "reach": reach,
        }
    )
    return _with_choice(calibration, logits_ANFS[0, :_TRIED_IMAGES], weights_FS, thresholds_F, sizes)


def _with_choice(
    calibration: TriageCalibration,
    logits_NFS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
) -> TriageCalibration:
    """Say where predictions save work; where not, the exact bounds decide, which never err.

    So the choice may depend on the images that measured the margins: it can only spare errors.
    """
    # The tightest promise these images allow, up to the usual one.
    epsilon = max(0.001, 1 / (calibration.images + 1))

    def work(findings: Collection[int]) -> dict[str, float]:
        return {
            guarantee: sum(
                decided(
                    calibration, logits_FS, weights_FS, thresholds_F, sizes, findings, guarantee, epsilon
                ).work
                for logits_FS in logits_NFS
            )
            for guarantee in GUARANTEES
        }

    known = np.flatnonzero(~np.isnan(thresholds_F)).tolist()
    together = work(known)
    work_of = {finding: work([finding]) for finding in known}
    return calibration.model_copy(
        update={
            "predicts_all": together["conformal"] < together["exact"],
            "predicts": tuple(
                finding not in work_of or work_of[finding]["conformal"] <= work_of[finding]["exact"]
                for finding in range(len(thresholds_F))
            ),
        }
    )


def _fit_stage(logits_NFS: Floats, weights_FS: Floats, stage: int) -> Stage:
    """Ridge regression of the ensemble's logit on what the `stage` coarsest scales said of all findings."""
    said_NP = logits_NFS[:, :, :stage].reshape(len(logits_NFS), -1)
    target_NF = logit(stacked(logits_NFS, weights_FS))
    mean_P, mean_F = said_NP.mean(axis=0), target_NF.mean(axis=0)
    scale_P = said_NP.std(axis=0) + 1e-6
    unit_NP = (said_NP - mean_P) / scale_P
    gram_PP = unit_NP.T @ unit_NP + _RIDGE * len(unit_NP) * np.eye(unit_NP.shape[1])
    slopes_PF = np.linalg.solve(gram_PP, unit_NP.T @ (target_NF - mean_F)) / scale_P[:, None]
    constants_F = mean_F - mean_P @ slopes_PF
    errors_NF = target_NF - (said_NP @ slopes_PF + constants_F)
    coefficients_FP = np.column_stack([slopes_PF.T, constants_F])
    return Stage(
        coefficients=tuple(tuple(round(value, 5) for value in row) for row in coefficients_FP.tolist()),
        spread=tuple(max(round(value, 5), 1e-5) for value in np.sqrt((errors_NF**2).mean(axis=0)).tolist()),
    )


def conformal_scores(
    calibration: TriageCalibration, logits_NFS: Floats, weights_FS: Floats, thresholds_F: Floats
) -> Floats:
    """By image and finding [N, F]: the least margin, in spreads, with which no stage settles wrongly.

    A wider margin settles less at every stage, so a margin above an image's score never errs on it: the
    loss is monotone, and its quantile over images bounds the risk.
    """
    probabilities_NF = stacked(logits_NFS, weights_FS)
    above_NF = probabilities_NF >= thresholds_F
    scores_NF = np.zeros_like(probabilities_NF)
    for stage, facts in enumerate(calibration.stages, start=1):
        distance_NF = predicted_logits(calibration, logits_NFS, stage) - logit(thresholds_F)
        wrong_NF = (distance_NF >= 0) != above_NF
        scores_NF = np.maximum(
            scores_NF, np.where(wrong_NF, np.abs(distance_NF), 0.0) / np.array(facts.spread)
        )
    return scores_NF


def _worst(scores_NF: Floats, reach: int) -> tuple[tuple[float, ...], ...]:
    """The rows that hold one of the `reach` largest scores of any finding, each score rounded up.

    Whatever set of findings is decided: an image whose largest score over them is among the `reach` largest
    such has that score from one finding, and is among that finding's `reach` largest.
    """
    rows = np.unique(np.argsort(-scores_NF, axis=0, kind="stable")[:reach])
    kept_NF = np.ceil(scores_NF[rows] * 1e4) / 1e4
    return tuple(tuple(row) for row in kept_NF.round(4).tolist() if any(row))


def _orders(
    logits_NFS: Floats, weights_FS: Floats, thresholds_F: Floats, sizes: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The order of scales with the least work under the exact guarantee: for all findings, for each alone."""
    settled = {
        order: _settled_after(logits_NFS, weights_FS, thresholds_F, sizes, order)
        for order in permutations(sizes)
    }

    def cheapest(findings: slice | int) -> tuple[int, ...]:
        return min(settled, key=lambda order: (_work(settled[order][:, findings], sizes, order), order))

    return cheapest(slice(None)), tuple(cheapest(finding) for finding in range(len(thresholds_F)))


def _settled_after(
    logits_NFS: Floats,
    weights_FS: Floats,
    thresholds_F: Floats,
    sizes: tuple[int, ...],
    order: tuple[int, ...],
) -> NDArray[np.int64]:
    """The number of scales of `order` that settle each finding of each image exactly, int64 [N, F]."""
    columns = [sizes.index(size) for size in order]
    said_NFS = (sigmoid(logits_NFS) * weights_FS)[:, :, columns].cumsum(axis=2)
    left_FS = 1 - weights_FS[:, columns].cumsum(axis=1)
    open_NFS = (said_NFS < thresholds_F[:, None]) & (said_NFS + left_FS.clip(min=0) >= thresholds_F[:, None])
    open_NFS[:, :, -1] = False
    settled: NDArray[np.int64] = open_NFS.argmin(axis=2) + 1
    return settled


def _work(settled_NX: NDArray[np.int64], sizes: tuple[int, ...], order: tuple[int, ...]) -> float:
    """Mean share of the work where an image runs scales until the last of its findings is settled."""
    shares = np.cumsum([size**2 for size in order]) / sum(size**2 for size in sizes)
    last_N = settled_NX.reshape(len(settled_NX), -1).max(axis=1)
    return float(shares[last_N - 1].mean())
