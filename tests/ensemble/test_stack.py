"""Tests of the stack."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxrserve.ensemble.stack import evidence_weights, sigmoid, stacked, voted

logits = arrays(np.float64, (14, 4), elements=st.floats(-60, 60))
raw_weights = arrays(np.float64, (14, 4), elements=st.floats(0.01, 1))


def _rows_sum_to_one(raw_FS: np.ndarray) -> np.ndarray:
    return np.asarray(raw_FS / raw_FS.sum(axis=1, keepdims=True))


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


@given(logits, raw_weights)
def test_the_stack_is_a_convex_sum(logits_FS: np.ndarray, raw_FS: np.ndarray) -> None:
    weights_FS = _rows_sum_to_one(raw_FS)
    single_FS = sigmoid(logits_FS)
    together_F = stacked(logits_FS[None], weights_FS)[0]
    assert np.all(together_F >= single_FS.min(axis=1) - 1e-12)
    assert np.all(together_F <= single_FS.max(axis=1) + 1e-12)


def test_equal_weights_are_voting() -> None:
    logits_NFS = np.random.default_rng(0).normal(size=(5, 14, 4))
    np.testing.assert_allclose(stacked(logits_NFS, np.full((14, 4), 0.25)), voted(logits_NFS))


@given(logits, raw_weights)
def test_evidence_is_the_gradient_of_minus_log_of_one_minus_p(
    logits_FS: np.ndarray, raw_FS: np.ndarray
) -> None:
    weights_FS = _rows_sum_to_one(raw_FS)

    def surprise(shifted_FS: np.ndarray) -> np.ndarray:
        # −log(Σ w σ(−l)): the same as −log(1 − p), without losing 1 − p to rounding
        return np.asarray(-np.log(np.sum(weights_FS * sigmoid(-shifted_FS), axis=1)))

    step = 1e-4
    for scale in range(4):
        moved_FS = logits_FS.copy()
        moved_FS[:, scale] += step
        numeric_F = (surprise(moved_FS) - surprise(logits_FS)) / step
        np.testing.assert_allclose(evidence_weights(logits_FS, weights_FS)[:, scale], numeric_F, atol=2e-4)


@pytest.mark.parametrize(("logit", "expected"), [(-20.0, 0.0), (20.0, 1.0)])
def test_the_absent_stays_dark_and_the_certain_bright(logit: float, expected: float) -> None:
    total = evidence_weights(np.full((14, 4), logit), np.full((14, 4), 0.25)).sum(axis=1)
    assert all(math.isclose(value, expected, abs_tol=1e-6) for value in total)
