"""Tests of the debiased calibration error, against models whose calibration is known."""

from __future__ import annotations

import numpy as np

from cxrserve.ensemble.stack import sigmoid
from training.calibration.error import debiased_error, error_interval, slope_and_intercept


def _model(
    random: np.random.Generator, count: int, shift: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stated probabilities, labels and true probabilities; `shift` moves the stated logits."""
    logits_N = random.normal(-2, 1.5, count)
    truth_N = sigmoid(logits_N)
    return sigmoid(logits_N + shift), random.random(count) < truth_N, truth_N


def test_the_squared_error_is_right_on_average() -> None:
    """A perfect and a shifted model at n = 3,000: the mean squared estimate is the true mean square."""
    random = np.random.default_rng(0)
    for shift in (0.0, 0.5):
        estimates, truths = [], []
        for _ in range(200):
            stated_N, positive_N, truth_N = _model(random, 3000, shift)
            estimates.append(debiased_error(stated_N, positive_N) ** 2)
            truths.append(np.mean((stated_N - truth_N) ** 2))
        assert abs(np.mean(estimates) - np.mean(truths)) < (0.01**2 if shift == 0 else 0.0004)


def test_the_interval_holds_a_shifted_models_error_and_grows_with_fewer_images() -> None:
    random = np.random.default_rng(1)
    stated_N, positive_N, truth_N = _model(random, 3000, 1.0)
    wide = error_interval(stated_N[:300], positive_N[:300], np.arange(300))
    narrow = error_interval(stated_N, positive_N, np.arange(3000))
    assert narrow.low < np.sqrt(np.mean((stated_N - truth_N) ** 2)) < narrow.high
    assert wide.high - wide.low > narrow.high - narrow.low


def test_images_of_one_patient_count_as_one() -> None:
    random = np.random.default_rng(2)
    stated_N, positive_N, _ = _model(random, 200, 1.0)
    repeated = (np.repeat(stated_N, 5), np.repeat(positive_N, 5))
    apart = error_interval(*repeated, np.arange(1000))
    together = error_interval(*repeated, np.repeat(np.arange(200), 5))
    assert together.high - together.low > 1.3 * (apart.high - apart.low)


def test_slope_and_intercept_of_a_model_that_is_too_sure() -> None:
    random = np.random.default_rng(3)
    logits_N = random.normal(-1, 1.5, 5000)
    positive_N = random.random(5000) < sigmoid(logits_N)
    slope, intercept = slope_and_intercept(sigmoid(2 * logits_N), positive_N)
    assert slope.low < 0.5 < slope.high < 1
    assert intercept.low < 0 < intercept.high
