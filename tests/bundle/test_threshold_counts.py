"""Counts at other thresholds: exact on the data, ordered, and refused where they contradict their point."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.bundle.threshold_counts import MAX_THRESHOLDS, ThresholdCounts, threshold_counts

CURVE = {"thresholds": [0.1, 0.5, 0.9], "true_positives": [10, 8, 2], "false_positives": [20, 4, 0]}
POINT = {"threshold": 0.5, "chosen_for": "tests", "data": "none", "events": 10, "non_events": 20}


def test_each_count_is_the_count_at_its_threshold() -> None:
    random = np.random.default_rng(1)
    positive_N = random.random(2000) < 0.2
    probabilities_N = 1 / (1 + np.exp(-random.normal(size=2000) - 3 * positive_N + 2))
    curve = threshold_counts(probabilities_N, positive_N, 0.3, probabilities_N >= 0.3)
    assert curve is not None
    assert 0.3 in curve.thresholds
    assert 50 < len(curve.thresholds) <= MAX_THRESHOLDS
    for threshold, hits, alarms in zip(
        curve.thresholds, curve.true_positives, curve.false_positives, strict=True
    ):
        flagged_N = probabilities_N >= threshold
        assert hits == (flagged_N & positive_N).sum()
        assert alarms == (flagged_N & ~positive_N).sum()
    # Neighbours lie near enough that a reader sees how sensitivity and specificity move.
    steps = np.diff(curve.true_positives) / positive_N.sum(), np.diff(curve.false_positives) / 1600
    assert all(abs(step).max() < 0.05 for step in steps)


def test_one_class_has_no_curve() -> None:
    scores_N = np.linspace(0, 1, 5)
    for positive_N in (np.zeros(5, bool), np.ones(5, bool)):
        assert threshold_counts(scores_N, positive_N, 0.5, scores_N >= 0.5) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"thresholds": [0.5, 0.1, 0.9]}, "ascend between 0 and 1"),
        ({"thresholds": [0.1, 0.5, 1.9]}, "ascend between 0 and 1"),
        ({"true_positives": [10, 8]}, "3 thresholds has 2 true_positives"),
        ({"false_positives": [4, 20, 0]}, "false_positives fall"),
        ({"true_positives": [10, 8, -1]}, "true_positives fall"),
        ({"thresholds": [0.1, 0.4, 0.9]}, "own threshold of 0.5"),
        ({"true_positives": [11, 8, 2]}, "11 units with the finding and 20 without; the point has 10 events"),
        ({"false_positives": [21, 4, 0]}, "10 units with the finding and 21 without"),
    ],
)
def test_a_curve_that_contradicts_itself_or_its_point_is_refused(change: dict[str, Any], words: str) -> None:
    assert OperatingPoint.model_validate(POINT | {"curve": CURVE}).curve is not None
    with pytest.raises(ValidationError, match=re.escape(words)):
        OperatingPoint.model_validate(POINT | {"curve": CURVE | change})


def test_a_curve_moves_with_its_calibration() -> None:
    moved = ThresholdCounts.model_validate(CURVE).moved(lambda threshold: threshold / 2)
    assert moved.thresholds == (0.05, 0.25, 0.45)
    assert moved.true_positives == (10, 8, 2)
