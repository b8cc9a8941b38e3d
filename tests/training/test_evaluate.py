"""The figures a bundle carries are what they say they are."""

from __future__ import annotations

import numpy as np
import pytest

from cxrserve.findings import NAMES
from cxrserve.reports.ranking import auc
from training.report.measures import means
from training.steps.calibration import operating_points


def auc_by_pairs(scores_N: np.ndarray, labels_N: np.ndarray) -> float:
    """The share of pairs in the right order, ties counting half."""
    apart = scores_N[labels_N > 0.5][:, None] - scores_N[labels_N < 0.5]
    return float(((apart > 0) + 0.5 * (apart == 0)).mean())


@pytest.mark.parametrize("levels", [4, 1000])
def test_auc_by_ranks_is_auc_by_pairs(levels: int) -> None:
    rng = np.random.default_rng(levels)
    labels_N = rng.integers(0, 2, 200).astype(np.float64)
    scores_N = rng.integers(0, levels, 200) + labels_N
    assert auc(scores_N, labels_N) == pytest.approx(auc_by_pairs(scores_N, labels_N))


def test_auc_of_one_class_is_unknown() -> None:
    assert auc(np.arange(3.0), np.ones(3)) is None


def test_means_are_over_the_findings_that_have_a_value() -> None:
    table: dict[str, dict[str, float | None]] = {
        "Edema": {"256": None, "stack": None},
        "Fracture": {"256": 0.5, "stack": 0.75},
        "Pneumonia": {"256": 0.75, "stack": 1.0},
    }
    assert means(table) == {"256": 0.625, "stack": 0.875}


def test_operating_points_have_the_sensitivity_and_specificity_they_claim() -> None:
    rng = np.random.default_rng(1)
    labels_NF = (rng.random((300, 14)) < 0.3).astype(np.float32)
    probabilities_NF = np.clip(0.3 * labels_NF + rng.uniform(0, 0.7, (300, 14)), 0, 1)
    points = operating_points(probabilities_NF, labels_NF, "drawn numbers")
    for index, name in enumerate(NAMES):
        called, present = probabilities_NF[:, index] >= points[name].threshold, labels_NF[:, index] > 0.5
        assert points[name].sensitivity == pytest.approx(called[present].mean(), abs=1e-4)
        assert points[name].specificity == pytest.approx((~called[~present]).mean(), abs=1e-4)


def test_a_finding_of_one_class_gets_one_half() -> None:
    points = operating_points(np.full((4, 14), 0.2), np.zeros((4, 14)), "nothing")
    assert points["Edema"].threshold == 0.5
    assert points["Edema"].sensitivity is None
