"""Tests of a bundle with calibrations: probabilities, scores, decisions, heatmaps and studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from cxrserve.bundle.calibration import Calibration
from cxrserve.bundle.contract import Bundle, Contract, load_bundle
from cxrserve.bundle.operating_point import DecisionPair
from cxrserve.engines.select import choose
from cxrserve.ensemble.calibration import calibrated, score_thresholds
from cxrserve.ensemble.heatmap import to_grey
from cxrserve.ensemble.predictor import Prediction, Predictor
from cxrserve.ensemble.stack import sigmoid, stacked
from cxrserve.ensemble.triage import Triage
from cxrserve.findings import INDEX, NAMES
from cxrserve.reports.study import over_images

SIZES = (64, 128)


def _calibration(slope: float, intercept: float) -> Calibration:
    return Calibration(slope=slope, intercept=intercept, data="tests")


def _changed(bundle: Bundle, **fields: object) -> Bundle:
    contract = Contract.model_validate({**bundle.contract.model_dump(), **fields})
    return replace(bundle, contract=contract)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from tests.bundles import write_tiny_bundle

    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp("calibrated"), SIZES, bias=0.3))


def _predicted(bundle: Bundle) -> Prediction:
    predictor = Predictor(bundle, choose("auto", "f32"), threads=1)
    random = np.random.default_rng(0)
    levels = {size: random.integers(0, 256, (size, size), np.uint8) for size in SIZES}
    return predictor.predict(levels, explain="all", explain_scales=True)


def test_probabilities_are_calibrated_scores_and_the_heatmaps_are_untouched(plain: Bundle) -> None:
    before = _predicted(plain)
    np.testing.assert_array_equal(before.scores_F, before.probabilities_F)
    maps = {name: _calibration(0.7 + 0.1 * index, 0.5 - 0.1 * index) for index, name in enumerate(NAMES)}
    after = _predicted(_changed(plain, calibration={name: map.model_dump() for name, map in maps.items()}))
    np.testing.assert_array_equal(after.scores_F, before.scores_F)
    expected = [maps[name].apply(before.scores_F[index]) for index, name in enumerate(NAMES)]
    np.testing.assert_allclose(after.probabilities_F, expected, atol=1e-12)
    for finding, map_GG in before.maps.items():
        np.testing.assert_array_equal(after.maps[finding], map_GG)


def test_the_score_is_the_sum_of_the_calibrated_members_and_their_maps_decompose(plain: Bundle) -> None:
    members = [
        {
            **member.model_dump(),
            "calibration": {name: _calibration(slope, -0.4).model_dump() for name in NAMES},
        }
        for member, slope in zip(plain.contract.members, (0.5, 2.0), strict=True)
    ]
    before, after = _predicted(plain), _predicted(_changed(plain, members=members))
    np.testing.assert_allclose(after.logits_FS, before.logits_FS * [0.5, 2.0] - 0.4, atol=1e-12)
    summed_F = (after.weights_FS * sigmoid(after.logits_FS)).sum(axis=1)
    np.testing.assert_allclose(after.scores_F, summed_F, atol=1e-12)
    # The gradient of −log(1 − score) with respect to the raw logit, by differences.
    step = 1e-6
    for scale, (size, slope) in enumerate(zip(SIZES, (0.5, 2.0), strict=True)):
        raised_FS = after.logits_FS.copy()
        raised_FS[:, scale] += slope * step
        raised_F = stacked(raised_FS[None], after.weights_FS)[0]
        gradient_F = (np.log1p(-after.scores_F) - np.log1p(-raised_F)) / step
        before_F = before.weights_FS[:, scale] * sigmoid(before.logits_FS[:, scale])
        before_F *= sigmoid(-before.logits_FS[:, scale]) / (1 - before.scores_F)
        for finding in range(len(NAMES)):
            expected = before.scale_maps[finding][size] * (gradient_F[finding] / before_F[finding])
            np.testing.assert_allclose(after.scale_maps[finding][size], expected, rtol=1e-3, atol=1e-6)


@given(
    arrays(np.float64, (14, 3), elements=st.floats(-12, 12)),
    arrays(np.float64, (14, 3), elements=st.floats(0.01, 1)),
    st.floats(0.2, 4),
    st.floats(-3, 3),
    st.floats(0.001, 0.999),
)
def test_exact_triage_decides_as_the_calibrated_probability_does(
    logits_FS: np.ndarray, raw_FS: np.ndarray, slope: float, intercept: float, threshold: float
) -> None:
    calibration = _calibration(slope, intercept)
    weights_FS = raw_FS / raw_FS.sum(axis=1, keepdims=True)
    score_threshold = float(calibration.invert(threshold))
    triage = Triage(
        (1, 2, 4), weights_FS, np.full(14, score_threshold), findings=range(14), guarantee="exact"
    )
    while (size := triage.next_size()) is not None:
        triage.record(size, logits_FS[:, (1, 2, 4).index(size)])
    probabilities_F = calibration.apply(stacked(logits_FS[None], weights_FS)[0])
    # At the threshold itself the logarithms round; the predictor puts such a value on the score's side.
    clear_F = np.abs(probabilities_F - threshold) > 1e-12
    assert ((probabilities_F >= threshold) == triage.positive_F)[clear_F].all()


def test_a_probability_lies_on_the_side_of_its_threshold_on_which_the_score_lies(plain: Bundle) -> None:
    maps = {name: _calibration(1.3, 0.2).model_dump() for name in NAMES}
    scores_F = _predicted(plain).scores_F
    points = {
        name: {**point.model_dump(), "threshold": float(_calibration(1.3, 0.2).apply(scores_F[INDEX[name]]))}
        for name, point in plain.contract.operating_points.items()
    }
    bundle = _changed(plain, calibration=maps, operating_points=points)
    prediction = _predicted(bundle)
    np.testing.assert_array_equal(
        prediction.positive_F, prediction.scores_F >= score_thresholds(bundle.contract)
    )


def test_a_study_has_its_own_calibration_and_operating_point(plain: Bundle) -> None:
    """The largest of two scores passes an image's point too often; the study's point holds its rate."""
    random = np.random.default_rng(1)
    absent_NI = sigmoid(random.normal(-2, 1, (4000, 2)))
    at_image, at_study = np.quantile(absent_NI[:, 0], 0.9), np.quantile(absent_NI.max(1), 0.9)
    point = plain.contract.operating_points["Edema"].model_dump()
    bundle = _changed(
        plain,
        operating_points={
            **{name: other.model_dump() for name, other in plain.contract.operating_points.items()},
            "Edema": {**point, "threshold": at_image},
        },
        study_operating_points={"Edema": {**point, "threshold": at_study, "unit": "studies"}},
        study_calibration={"Edema": _calibration(1.0, 0.0).model_dump()},
    )
    threshold = bundle.contract.point_of("Edema", "studies")
    assert threshold is not None
    assert bundle.contract.point_of("Fracture", "studies") == plain.contract.operating_points["Fracture"]
    rows = [[[score] * 14 for score in pair] for pair in random.permutation(absent_NI)[:1000]]
    studies = [over_images(row, bundle).probabilities_F[INDEX["Edema"]] for row in rows]
    assert np.mean(np.array(studies) >= threshold.threshold) == pytest.approx(0.1, abs=0.03)
    assert np.mean(np.array(studies) >= at_image) > 0.15


def test_between_rule_out_and_rule_in_a_finding_is_undecided(plain: Bundle) -> None:
    pair = DecisionPair(
        rule_out=0.1,
        rule_in=0.7,
        missed=0.05,
        ppv=0.8,
        confidence=0.95,
        events=59,
        non_events=500,
        undecided=0.1,
        data="tests",
    )
    point = plain.contract.operating_points["Edema"]
    assert [point.decision(value) for value in (0.4, 0.5)] == ["absent", "present"]
    both = point.model_copy(update={"pair": pair})
    decisions = [both.decision(value) for value in (0.09, 0.1, 0.69, 0.7)]
    assert decisions == ["absent", "undecided", "undecided", "present"]
    with pytest.raises(ValidationError, match="lies above"):
        DecisionPair.model_validate({**pair.model_dump(), "rule_out": 0.8})


def test_a_table_with_an_unknown_finding_or_no_scale_is_refused(plain: Bundle) -> None:
    for fields in (
        {"calibration": {"Edma": _calibration(1, 0).model_dump()}},
        {"heatmap_scales": {"Edma": 1.0}},
        {"heatmap_scales": {"Edema": 0.0}},
    ):
        with pytest.raises(ValidationError, match=r"Edma|positive"):
            _changed(plain, **fields)


def test_a_finding_with_a_scale_of_its_own_is_drawn_on_a_linear_curve(plain: Bundle) -> None:
    contract = _changed(plain, heatmap_scales={"Edema": 20.0}).contract
    assert (contract.full_strength("Edema"), contract.heatmap_curve("Edema")) == (20.0, "linear")
    assert (contract.full_strength("Fracture"), contract.heatmap_curve("Fracture")) == (1.0, "square-root")
    picture = np.array([[0.0, 5.0, 20.0, 80.0]], np.float32)
    assert to_grey(picture, 20.0, "linear").tolist() == [[0, 64, 255, 255]]
    assert to_grey(picture, 20.0).tolist() == [[0, 128, 255, 255]]


def test_scores_that_are_not_known_stay_unknown(plain: Bundle, tmp_path: Path) -> None:
    contract = _changed(plain, calibration={"Edema": _calibration(2, 1).model_dump()}).contract
    assert np.isnan(calibrated(np.full(14, np.nan), contract)).all()
