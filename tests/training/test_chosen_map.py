"""The map of a calibration: beta only where many labels show that it is better than the logistic one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.calibration import Calibration
from cxrserve.ensemble.stack import sigmoid
from training.calibration.chosen import ENOUGH_FOR_BETA, chosen_fit

BENT = Calibration(method="beta", slope=0.3, slope_high=3.0, intercept=0.5, data="nothing")
STRAIGHT = Calibration(slope=1.4, intercept=0.3, data="nothing")


def _drawn(truth: Calibration, count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    random = np.random.default_rng(seed)
    scores_N = sigmoid(random.normal(0, 2, count))
    return scores_N, random.random(count) < truth.apply(scores_N)


def _method(truth: Calibration, count: int, seed: int) -> str:
    scores_N, positive_N = _drawn(truth, count, seed)
    return chosen_fit(scores_N, positive_N, np.arange(count), data="drawn").method


def test_a_bent_truth_gets_a_beta_map_and_its_probabilities_are_right() -> None:
    scores_N, positive_N = _drawn(BENT, 4000, 0)
    fitted = chosen_fit(scores_N, positive_N, np.arange(4000), data="drawn")
    assert fitted.method == "beta"
    assert np.abs(fitted.apply(scores_N) - BENT.apply(scores_N)).mean() < 0.012


def test_few_labels_or_a_straight_truth_get_a_logistic_map() -> None:
    assert _method(BENT, 2 * ENOUGH_FOR_BETA - 200, 0) == "logistic"
    assert sum(_method(STRAIGHT, 4000, seed) == "beta" for seed in range(20)) <= 5


def test_maps_of_which_none_is_better_are_logistic() -> None:
    """Scores that are all 0 or all 1 show no difference, and no error of it either."""
    positive_N = np.tile([True, False], ENOUGH_FOR_BETA)
    for score in (0.0, 1.0):
        scores_N = np.full(len(positive_N), score)
        fitted = chosen_fit(scores_N, positive_N, np.arange(len(scores_N)), data="constant")
        assert fitted.method == "logistic"
