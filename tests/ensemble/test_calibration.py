"""Tests of a finding's calibration: the map, its inverse, and its fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from cxrserve.bundle.calibration import Calibration, identity, logit
from cxrserve.ensemble.calibration import MIN_SLOPE, fit, fit_beta, fit_logistic, log_loss
from cxrserve.ensemble.stack import sigmoid

slopes = st.floats(0.3, 3)
intercepts = st.floats(-3, 3)


def _drawn(
    rng: np.random.Generator, count: int, prevalence: float, distance: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are calibrated, of normal scores of equal variance, and the labels."""
    positive_N = rng.random(count) < prevalence
    score_N = rng.normal(size=count) + distance * positive_N
    logits_N = distance * score_N - distance**2 / 2 + np.log(prevalence / (1 - prevalence))
    return logits_N, positive_N


@given(arrays(np.float64, 20, elements=st.floats(1e-3, 1 - 1e-3)), slopes, intercepts)
def test_the_inverse_undoes_the_map(scores_N: np.ndarray, slope: float, intercept: float) -> None:
    calibration = Calibration(slope=slope, intercept=intercept, data="nothing")
    np.testing.assert_allclose(calibration.invert(calibration.apply(scores_N)), scores_N, atol=1e-12)


@given(arrays(np.float64, 20, elements=st.floats(0, 1)), slopes, intercepts)
def test_the_map_keeps_the_order(scores_N: np.ndarray, slope: float, intercept: float) -> None:
    mapped_N = Calibration(slope=slope, intercept=intercept, data="nothing").apply(np.sort(scores_N))
    assert np.all(np.diff(mapped_N) >= -1e-15)
    assert np.all((mapped_N >= 0) & (mapped_N <= 1))


def test_the_identity_changes_no_bit_and_nan_stays_nan() -> None:
    scores_N = np.array([0.0, 0.1, 1 / 3, 1.0, np.nan])
    np.testing.assert_array_equal(identity().apply(scores_N), scores_N)
    assert np.isnan(Calibration(slope=2, data="nothing").apply(np.nan))


def test_a_falling_map_and_a_false_identity_are_refused() -> None:
    for wrong in ({"slope": 0.0}, {"slope": -1.0}, {"method": "identity", "intercept": 0.1}):
        with pytest.raises(ValidationError):
            Calibration.model_validate({"data": "nothing", **wrong})


def test_the_fit_is_that_of_scikit_learn() -> None:
    logits_N, positive_N = _drawn(np.random.default_rng(1), 2000, 0.2)
    bent_N = 0.6 * logits_N + 0.5
    ours = fit_logistic(bent_N, positive_N, ridge=0)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10000).fit(bent_N[:, None], positive_N)
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-6)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-6)


def test_the_ridge_holds_the_slope_near_one_and_lets_the_intercept_go() -> None:
    logits_N, positive_N = _drawn(np.random.default_rng(2), 200, 0.2)
    free, held, stiff = (fit_logistic(2 * logits_N + 3, positive_N, ridge=ridge) for ridge in (0, 20, 1e9))
    assert abs(held.slope - 1) < abs(free.slope - 1)
    assert stiff.slope == pytest.approx(1, abs=1e-4)
    assert sigmoid(stiff.slope * (2 * logits_N + 3) + stiff.intercept).mean() == pytest.approx(
        positive_N.mean(), abs=1e-6
    )


def test_classes_that_do_not_overlap_and_scores_that_mislead_have_a_fit() -> None:
    logits_N = np.array([-3.0] * 20 + [3.0] * 20)
    positive_N = logits_N > 0
    apart, reverse = fit_logistic(logits_N, positive_N), fit_logistic(100 * logits_N, ~positive_N)
    assert 1 < apart.slope < 10
    assert reverse.slope == MIN_SLOPE


def test_too_few_events_change_nothing_and_say_so() -> None:
    scores_N = np.full(100, 0.3)
    calibration = fit(scores_N, np.arange(100) < 4, data="100 images")
    assert calibration.method == "identity"
    assert (calibration.events, calibration.non_events) == (4, 96)
    assert "too few, 4 with the finding" in calibration.data
    with pytest.raises(ValueError, match="with the finding"):
        fit_logistic(scores_N, np.zeros(100, np.bool_))


# By number of units at a prevalence of 0.1: the largest RMS distance from the true probability after the fit,
# and its largest share of that of a fit without a ridge. Before the fit it is 0.056.
@pytest.mark.parametrize(
    ("count", "largest", "share"),
    [(50, 0.070, 0.85), (100, 0.048, 0.85), (500, 0.025, 1.05), (5000, 0.0105, 1.05)],
)
def test_few_labels_correct_a_shifted_model(count: int, largest: float, share: float) -> None:
    """Distortions of the model: twice and half the prevalence, slopes of 0.7 and 1.5, a bend."""
    rng = np.random.default_rng(3)
    test_N, _ = _drawn(rng, 4000, 0.1, distance=1.5)
    with_ridge: list[float] = []
    without: list[float] = []
    for constant, slope, bend in (
        (np.log(2), 1, 0),
        (-np.log(2), 1, 0),
        (0, 1 / 0.7, 0),
        (0, 1 / 1.5, 0),
        (0, 1, 0.05),
    ):
        distort = np.polynomial.Polynomial([constant, slope, bend])
        truth_N, shipped_N = sigmoid(test_N), sigmoid(distort(test_N))
        for _ in range(20):
            logits_N, positive_N = _drawn(rng, count, 0.1, distance=1.5)
            scores_N = sigmoid(distort(logits_N))
            for ridge, errors in ((20.0, with_ridge), (1e-3, without)):
                calibration = fit(scores_N, positive_N, data="site", ridge=ridge, min_events=1)
                errors.append(float(np.mean((calibration.apply(shipped_N) - truth_N) ** 2)))
    error = np.sqrt(np.mean(with_ridge))
    assert error < largest
    assert error < share * np.sqrt(np.mean(without))


def test_log_loss_is_lower_after_the_fit_and_finite_at_the_ends() -> None:
    logits_N, positive_N = _drawn(np.random.default_rng(4), 3000, 0.1)
    scores_N = sigmoid(0.5 * logits_N + 1)
    calibrated_N = fit(scores_N, positive_N, data="3000 images").apply(scores_N)
    assert log_loss(calibrated_N, positive_N) < log_loss(scores_N, positive_N)
    assert np.isfinite(log_loss(np.array([0.0, 1.0]), np.array([True, False])))
    assert logit(0.5) == 0


@given(
    arrays(np.float64, 20, elements=st.floats(1e-3, 1 - 1e-3)),
    st.floats(0.1, 5),
    st.floats(0.1, 5),
    intercepts,
)
def test_a_beta_map_is_undone_and_keeps_the_order(
    scores_N: np.ndarray, low: float, high: float, intercept: float
) -> None:
    beta = Calibration(method="beta", slope=low, slope_high=high, intercept=intercept, data="nothing")
    mapped_N = beta.apply(np.sort(scores_N))
    assert np.all(np.diff(mapped_N) >= 0)
    np.testing.assert_allclose(beta.apply(beta.invert(mapped_N)), mapped_N, atol=1e-12)
    equal = Calibration(slope=low, intercept=intercept, data="nothing")
    bent = Calibration(method="beta", slope=low, slope_high=low, intercept=intercept, data="nothing")
    np.testing.assert_allclose(bent.apply(scores_N), equal.apply(scores_N), atol=1e-12)
    after = beta.followed_by(0.7, -0.2, "nothing")
    np.testing.assert_allclose(after.logits(scores_N), 0.7 * beta.logits(scores_N) - 0.2, atol=1e-12)


def test_a_beta_map_is_inverted_to_every_score() -> None:
    small_N = 10.0 ** np.arange(-9, -1)
    scores_N = np.concatenate([small_N, np.linspace(0.01, 0.99, 99), 1 - small_N])
    for low, high in ((0.02, 4.0), (4.0, 0.02), (1.0, 1.0), (2.5, 0.7)):
        beta = Calibration(method="beta", slope=low, slope_high=high, intercept=0.4, data="nothing")
        back_N = beta.invert(beta.apply(scores_N))
        np.testing.assert_allclose(beta.apply(back_N), beta.apply(scores_N), rtol=1e-9, atol=1e-12)
    assert np.isnan(beta.invert(np.nan))


def test_a_beta_map_without_its_second_slope_is_refused() -> None:
    for wrong in ({"method": "beta"}, {"method": "logistic", "slope_high": 1.0}):
        with pytest.raises(ValidationError, match="slope_high"):
            Calibration.model_validate({"data": "nothing", **wrong})


def test_the_beta_fit_is_that_of_scikit_learn_and_keeps_its_bound() -> None:
    logits_N, _ = _drawn(np.random.default_rng(1), 4000, 0.3)
    scores_N = sigmoid(logits_N)
    truth = Calibration(method="beta", slope=1.8, slope_high=0.6, intercept=0.3, data="nothing")
    positive_N = np.random.default_rng(2).random(4000) < truth.apply(scores_N)
    ours = fit_beta(scores_N, positive_N, data="drawn", ridge=0)
    columns_N2 = np.column_stack([np.log(scores_N), -np.log1p(-scores_N)])
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10000).fit(columns_N2, positive_N)
    assert [ours.slope, ours.slope_high] == pytest.approx(theirs.coef_[0].tolist(), abs=1e-5)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-5)
    # Frequencies that fall as scores near 1 rise: no slope may be negative.
    falling_N = np.random.default_rng(3).random(4000) < np.where(scores_N < 0.5, scores_N, 1 - scores_N)
    bounded = fit_beta(scores_N, falling_N, data="drawn")
    assert min(bounded.slope, bounded.slope_high or 0) == MIN_SLOPE


def test_a_site_of_few_films_changes_little_of_the_bundles_own_map() -> None:
    """The ridge pulls toward what was before, whatever that is."""
    logits_N, positive_N = _drawn(np.random.default_rng(4), 60, 0.2)
    before = Calibration(slope=2.0, intercept=1.0, data="the bundle")
    scores_N = before.invert(sigmoid(logits_N))
    far = fit(scores_N, positive_N, data="site")
    near = fit(scores_N, positive_N, data="site", before=before)
    assert abs(near.slope - 2) < abs(far.slope - 2)
    assert near.slope == pytest.approx(2, rel=0.1)
    few = fit(scores_N, np.zeros(60, bool), data="site", before=before)
    assert (few.slope, few.intercept) == (2.0, 1.0)
