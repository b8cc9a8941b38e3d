"""`train` and `models calibrate` keep counts at other thresholds beside each operating point."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cxrserve.bundle.contract import Contract, read_contract
from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.ensemble.stack import sigmoid
from cxrserve.findings import NAMES
from training.calibration.bundle import Labelled, calibrated_contract
from training.steps.calibration import operating_points

EDEMA = NAMES.index("Edema")


def _at_the_point(point: OperatingPoint) -> tuple[int, int]:
    assert point.curve is not None
    at = point.curve.thresholds.index(point.threshold)
    return point.curve.true_positives[at], point.curve.false_positives[at]


def _labelled(images: int, a_study: int) -> Labelled:
    random = np.random.default_rng(2)
    present_NF = np.repeat(random.random((images // a_study, len(NAMES))) < 0.4, a_study, axis=0)
    return Labelled(
        scores_NF=sigmoid(random.normal(size=present_NF.shape) + 2 * present_NF - 1),
        labels_NF=present_NF.astype(np.float64),
        study_N=np.repeat(np.arange(images // a_study), a_study),
        maxima_NF=np.full(present_NF.shape, np.nan),
        data="drawn images",
    )


def test_a_calibrated_point_has_its_measured_counts_on_its_curve(tiny_bundle: Path) -> None:
    before = read_contract(tiny_bundle)[0]
    assert before.operating_points["Edema"].curve is None
    contract = Contract.model_validate_json(
        calibrated_contract(before, _labelled(600, a_study=2)).model_dump_json()
    )
    for points in (contract.operating_points, contract.study_operating_points):
        assert list(points) == list(NAMES)
        for point in points.values():
            hits, alarms = _at_the_point(point)
            specificity = point.measured["specificity"]
            assert hits == point.measured["sensitivity"].count
            assert alarms == specificity.total - specificity.count
    assert contract.study_operating_points["Edema"].events != contract.operating_points["Edema"].events


def test_a_trained_point_has_its_shares_on_its_curve() -> None:
    images = _labelled(300, a_study=1)
    point = operating_points(images.scores_NF, images.labels_NF, "drawn images")["Edema"]
    hits, alarms = _at_the_point(point)
    assert point.events
    assert point.non_events
    assert point.events == images.labels_NF[:, EDEMA].sum()
    assert point.sensitivity == round(hits / point.events, 4)
    assert point.specificity == round(1 - alarms / point.non_events, 4)
