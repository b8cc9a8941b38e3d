"""The contract of a bundle with calibrations, measured operating points and heatmap scales.

The operating points keep their place among the scores: each threshold is carried through the calibration,
so no decision changes, and the triage calibration of the bundle stays valid.

Legend: N images, F findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.calibration import Calibration, Unit
from cxrserve.bundle.contract import Contract
from cxrserve.bundle.operating_point import MeasuredShare, OperatingPoint, Target
from cxrserve.bundle.threshold_counts import threshold_counts
from cxrserve.ensemble.calibration import log_loss
from cxrserve.findings import NAMES
from training.calibration.chosen import chosen_fit
from training.triage.check import clopper_pearson

Floats = NDArray[np.float64]

# With fewer present images than this a finding keeps the bundle's common heatmap scale.
MIN_MAXIMA: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """Scores and labels of images.

    Attributes:
        scores_NF: float64 [N, 14], the stack's; NaN where no member supports the finding.
        labels_NF: 0, 1, or NaN where nothing is known.
        study_N: equal for images of one study.
        maxima_NF: largest raw value of each heatmap; NaN where none was computed.
        data: the images in words, without their number.
    """

    scores_NF: Floats
    labels_NF: NDArray[np.floating]
    study_N: NDArray[np.int64]
    maxima_NF: Floats
    data: str

    def __len__(self) -> int:
        return len(self.labels_NF)


def calibrated_contract(contract: Contract, images: Labelled) -> Contract:
    """`contract` with calibration, operating points and heatmap scales measured on `images`.

    Studies get a calibration and operating points of their own where any study has several images.
    """
    calibration, points = _of_unit(contract, images, "images")
    update: dict[str, object] = {
        "calibration": calibration,
        "operating_points": points,
        "heatmap_scales": heatmap_scales(contract, images),
        "study_calibration": {},
        "study_operating_points": {},
    }
    studies = by_study(images, contract)
    if len(studies) < len(images):
        study_calibration, study_points = _of_unit(contract, studies, "studies")
        update |= {"study_calibration": study_calibration, "study_operating_points": study_points}
    return Contract.model_validate(contract.model_copy(update=update).model_dump())


def _of_unit(
    contract: Contract, units: Labelled, unit: Unit
) -> tuple[dict[str, Calibration], dict[str, OperatingPoint]]:
    calibrations, points = {}, {}
    for index, name in enumerate(NAMES):
        point = contract.point_of(name, unit)
        if point is None:
            continue
        known_N = ~np.isnan(units.labels_NF[:, index]) & ~np.isnan(units.scores_NF[:, index])
        scores_N = units.scores_NF[known_N, index]
        positive_N = units.labels_NF[known_N, index] > 0.5
        calibration = chosen_fit(
            scores_N, positive_N, units.study_N[known_N], data=f"{len(scores_N)} {units.data}"
        )
        score_threshold = float(contract.calibration_of(name, unit).invert(point.threshold))
        calibrations[name] = calibration
        points[name] = measured(point, score_threshold, calibration, scores_N, positive_N, units.data, unit)
    return calibrations, points


def measured(
    point: OperatingPoint,
    score_threshold: float,
    calibration: Calibration,
    scores_N: Floats,
    positive_N: NDArray[np.bool_],
    data: str,
    unit: Unit,
) -> OperatingPoint:
    """`point` at the same score, with its threshold calibrated.

    Its shares are measured with intervals, and the counts at other thresholds are kept beside them.
    """
    flagged_N = scores_N >= score_threshold
    shares = {
        "sensitivity": (flagged_N & positive_N, positive_N),
        "specificity": (~flagged_N & ~positive_N, ~positive_N),
        "ppv": (flagged_N & positive_N, flagged_N),
        "npv": (~flagged_N & ~positive_N, ~flagged_N),
    }
    table = {
        name: _share(int(hits_N.sum()), int(of_N.sum()))
        for name, (hits_N, of_N) in shares.items()
        if of_N.any()
    }
    chosen_on = point.data.partition(";")[0]
    threshold = float(calibration.apply(score_threshold))
    curve = threshold_counts(calibration.apply(scores_N), positive_N, threshold, flagged_N)
    return OperatingPoint.model_validate(
        {
            "threshold": threshold,
            "sensitivity": round(table["sensitivity"].value, 4) if "sensitivity" in table else None,
            "specificity": round(table["specificity"].value, 4) if "specificity" in table else None,
            "chosen_for": point.chosen_for,
            "data": f"{chosen_on}; measured on {len(scores_N)} {data}",
            "target": point.target or (Target(kind="youden") if "Youden" in point.chosen_for else None),
            "unit": unit,
            "events": int(positive_N.sum()),
            "non_events": int((~positive_N).sum()),
            "measured": table,
            "curve": curve,
        }
    )


def _share(count: int, total: int) -> MeasuredShare:
    low, high = clopper_pearson(count, total)
    return MeasuredShare(
        value=round(count / total, 6), low=round(low, 6), high=round(high, 6), count=count, total=total
    )


def by_study(images: Labelled, contract: Contract) -> Labelled:
    """One row for each study: the bundle's rule over its images' scores; a finding that any image shows."""
    studies, group_N = np.unique(images.study_N, return_inverse=True)
    rule = np.fmax if contract.study_rule == "maximum" else np.add
    labels = np.full((len(studies), len(NAMES)), np.nan)
    np.fmax.at(labels, group_N, images.labels_NF.astype(np.float64))
    scores = np.full((len(studies), len(NAMES)), -np.inf if contract.study_rule == "maximum" else 0.0)
    rule.at(scores, group_N, images.scores_NF)
    if contract.study_rule == "mean":
        scores /= np.bincount(group_N)[:, None]
    scores[np.isinf(scores)] = np.nan
    return Labelled(
        scores_NF=scores,
        labels_NF=labels,
        study_N=np.arange(len(studies)),
        maxima_NF=np.full_like(scores, np.nan),
        data=f"studies of {len(images)} {images.data}",
    )


def heatmap_scales(contract: Contract, images: Labelled) -> dict[str, float]:
    """By finding the median of the largest heatmap values over images where it is present and found.

    A finding with fewer than `MIN_MAXIMA` of them is left out.
    """
    scales: dict[str, float] = {}
    for index, name in enumerate(NAMES):
        point = contract.operating_points.get(name)
        if point is None:
            continue
        threshold = float(contract.calibration_of(name).invert(point.threshold))
        true_N = (images.labels_NF[:, index] > 0.5) & (images.scores_NF[:, index] >= threshold)
        maxima = images.maxima_NF[true_N, index]
        maxima = maxima[~np.isnan(maxima) & (maxima > 0)]
        if len(maxima) >= MIN_MAXIMA:
            scales[name] = float(f"{np.median(maxima):.4g}")
    return scales


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """Mean log loss of a finding before and after its calibration."""

    finding: str
    calibration: Calibration
    before: float
    after: float


def gains(contract: Contract, images: Labelled) -> list[Gain]:
    """Log loss of the scores and of the calibrated probabilities on `images`, by finding."""
    table = []
    for index, name in enumerate(NAMES):
        known_N = ~np.isnan(images.labels_NF[:, index]) & ~np.isnan(images.scores_NF[:, index])
        if name not in contract.operating_points or not known_N.any():
            continue
        scores_N, positive_N = images.scores_NF[known_N, index], images.labels_NF[known_N, index] > 0.5
        calibration = contract.calibration_of(name)
        table.append(
            Gain(
                finding=name,
                calibration=calibration,
                before=log_loss(scores_N, positive_N),
                after=log_loss(calibration.apply(scores_N), positive_N),
            )
        )
    return table
