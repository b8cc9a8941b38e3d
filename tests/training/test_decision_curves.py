"""Decision curves: net benefit as it is defined, and bands that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.ensemble.stack import sigmoid
from training.report.measures import THRESHOLDS_T, DecisionCurve, decision_curve


def _curve(
    probabilities_N: NDArray[np.float64], positive_N: NDArray[np.bool_], patient_N: NDArray[np.int64]
) -> DecisionCurve:
    curve = decision_curve(probabilities_N, positive_N, patient_N)
    assert curve is not None
    return curve


def test_net_benefit_is_hits_less_weighed_alarms_over_the_share() -> None:
    probabilities_N = np.array([0.9, 0.6, 0.4, 0.1])
    positive_N = np.array([True, False, True, False])
    benefit = _curve(probabilities_N, positive_N, np.arange(4))
    at_half, at_fifth = np.searchsorted(THRESHOLDS_T, [0.5 - 1e-9, 0.2 - 1e-9])
    assert benefit.value_T[at_half] == pytest.approx((1 / 4 - 1 / 4) / 0.5)
    assert benefit.value_T[at_fifth] == pytest.approx((2 / 4 - 1 / 4 * 0.25) / 0.5)
    assert benefit.all_T[at_fifth] == pytest.approx(1 - 0.25)


def test_the_band_holds_the_benefit_of_the_population() -> None:
    random = np.random.default_rng(0)
    logits_N = random.normal(-1, 2, 200_000)
    truth_N, positive_N = sigmoid(logits_N), random.random(200_000) < sigmoid(logits_N)
    whole = _curve(truth_N, positive_N, np.arange(200_000)).value_T[30]
    held = 0
    for part in np.split(np.arange(200_000), 400):
        benefit = _curve(truth_N[part], positive_N[part], part)
        held += benefit.low_T[30] <= whole <= benefit.high_T[30]
    assert held >= 0.92 * 400


def test_films_of_one_patient_count_as_one() -> None:
    random = np.random.default_rng(1)
    probabilities_N = random.random(300)
    positive_N = random.random(300) < probabilities_N
    repeated = np.repeat(probabilities_N, 4), np.repeat(positive_N, 4)
    apart = _curve(*repeated, np.arange(1200))
    together = _curve(*repeated, np.repeat(np.arange(300), 4))
    widths = [band.high_T[30] - band.low_T[30] for band in (together, apart)]
    assert widths[0] == pytest.approx(2 * widths[1])
