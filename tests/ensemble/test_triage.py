"""Early decisions: the exact ones are the full ensemble's, always; the others as often as promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cxrserve.ensemble.stack import stacked
from cxrserve.ensemble.triage import Triage, exact_bounds
from cxrserve.errors import RequestError
from training.triage import check_triage, conformal_scores, decided, fit_early_decisions

SIZES = (256, 512, 1024, 2048)
FINDINGS = 14
Floats = NDArray[np.float64]


def weights(raw_FS: Floats) -> Floats:
    """Rows that are ≥ 0 and sum to 1; some weights are 0."""
    raw_FS = np.where(raw_FS < 0.1, 0.0, raw_FS) + np.eye(len(raw_FS), raw_FS.shape[1]) * 1e-3 + 1e-9
    weights_FS: Floats = raw_FS / raw_FS.sum(axis=1, keepdims=True)
    return weights_FS


def images(count: int, seed: int) -> Floats:
    """Logits of scales that mostly agree, each with an error of its own."""
    random = np.random.default_rng(seed)
    truth_NF1 = random.normal(0, 3, (count, FINDINGS, 1))
    logits_NFS: Floats = truth_NF1 + random.normal(0, 1, (count, FINDINGS, len(SIZES)))
    return logits_NFS


EVEN_FS = weights(np.full((FINDINGS, 4), 1.0))
THRESHOLDS_F = np.linspace(0.2, 0.8, FINDINGS)
EARLY = fit_early_decisions(images(4000, 0), EVEN_FS, THRESHOLDS_F, SIZES, data="numbers", seed=0)

logits_of_one: Any = arrays(np.float64, (FINDINGS, 4), elements=st.floats(-30, 30))
shares: Any = arrays(np.float64, (FINDINGS, 4), elements=st.floats(0, 1))
thresholds: Any = arrays(np.float64, (FINDINGS,), elements=st.floats(0, 1))


@given(logits_FS=logits_of_one, raw_FS=shares, thresholds_F=thresholds, alone=st.integers(-1, FINDINGS - 1))
def test_exact_decisions_are_those_of_the_full_ensemble(
    logits_FS: Floats, raw_FS: Floats, thresholds_F: Floats, alone: int
) -> None:
    weights_FS = weights(raw_FS)
    findings = list(range(FINDINGS)) if alone < 0 else [alone]
    # The order of EARLY was measured on other weights: it may cost work, never a decision.
    triage = decided(EARLY, logits_FS, weights_FS, thresholds_F, SIZES, findings, "exact", 0.01)
    full_F = stacked(logits_FS[None], weights_FS)[0]
    assert set(findings) <= set(triage.settled_by)
    assert ((full_F >= thresholds_F) == triage.positive_F)[findings].all()
    assert (triage.bounds.lower_F <= full_F + 1e-12).all()
    assert (full_F <= triage.bounds.upper_F + 1e-12).all()


@given(logits_FS=logits_of_one, raw_FS=shares)
def test_a_threshold_on_the_probability_itself_is_decided_as_the_ensemble_does(
    logits_FS: Floats, raw_FS: Floats
) -> None:
    weights_FS = weights(raw_FS)
    full_F = stacked(logits_FS[None], weights_FS)[0]
    triage = Triage(SIZES, weights_FS, full_F, findings=range(FINDINGS))
    while (size := triage.next_size()) is not None:
        triage.tell(size, logits_FS[:, SIZES.index(size)])
    # Whether p ≥ p is a matter of the last bit where scales without weight were left out.
    whole = triage.ran == SIZES
    assert np.allclose(triage.bounds.lower_F, full_F, atol=1e-9) or not whole


def test_scales_without_weight_on_what_is_asked_do_not_run() -> None:
    weights_FS = EVEN_FS.copy()
    weights_FS[0] = [1, 0, 0, 0]
    triage = Triage(SIZES, weights_FS, THRESHOLDS_F, findings=[0])
    assert triage.next_size() == 256
    triage.tell(256, np.full(FINDINGS, 5.0))
    assert triage.next_size() is None
    assert triage.settled_by == {0: 256}
    assert triage.work == pytest.approx(1 / 85)
    assert triage.positive_F[0]


def test_a_member_that_does_not_know_a_finding_says_nothing_of_it() -> None:
    weights_FS = EVEN_FS.copy()
    weights_FS[3] = [0, 0, 0, 1]
    logits_FS = np.zeros((FINDINGS, 4))
    logits_FS[3, :3] = np.nan
    bounds = exact_bounds(logits_FS, weights_FS, np.array([True, True, True, False]))
    assert bounds.lower_F[3] == pytest.approx(0, abs=1e-9)
    assert bounds.upper_F[3] == pytest.approx(1)


def test_nothing_is_settled_before_anything_ran() -> None:
    triage = Triage(SIZES, EVEN_FS, THRESHOLDS_F, findings=range(FINDINGS))
    assert triage.ran == ()
    assert triage.work == 0
    assert not triage.settled_by


@pytest.mark.parametrize("epsilon", [0.002, 0.02])
def test_conformal_decisions_differ_no_more_often_than_promised(epsilon: float) -> None:
    logits_NFS = images(2000, 1)
    checks = check_triage(
        EARLY, logits_NFS, EVEN_FS, THRESHOLDS_F, SIZES, data="others", epsilon=epsilon, alone=(0, 7)
    )
    by_what = {(check.guarantee, check.findings): check for check in checks}
    together = by_what["conformal", "all"]
    # The promise is kept on average over calibrations; this one was of 2,000 images, and 2,000 are counted.
    spread = np.sqrt(epsilon * (1 / 2000 + 1 / 2000))
    assert together.differing / 2000 <= epsilon + 3 * spread
    assert by_what["exact", "all"].differing == 0
    assert together.work <= by_what["exact", "all"].work
    assert all(check.work <= check.work_worst <= 1 for check in checks)


def test_a_prediction_never_leaves_the_exact_bounds() -> None:
    # Scales that contradict each other wildly, as in no image that EARLY was fitted on.
    for logits_FS in np.random.default_rng(5).normal(0, 6, (50, FINDINGS, 4)):
        triage = Triage(
            SIZES,
            EVEN_FS,
            THRESHOLDS_F,
            findings=range(FINDINGS),
            guarantee="conformal",
            early=EARLY,
            epsilon=0.02,
        )
        while (size := triage.next_size()) is not None:
            triage.tell(size, logits_FS[:, SIZES.index(size)])
            assert (triage.bounds.lower_F <= triage.bounds.upper_F).all()


def test_a_promise_that_was_not_calibrated_is_refused() -> None:
    with pytest.raises(RequestError, match="calibrated on 2000 images"):
        Triage(SIZES, EVEN_FS, THRESHOLDS_F, findings=[0], guarantee="conformal", early=EARLY, epsilon=0.0001)
    with pytest.raises(RequestError, match="no calibration"):
        Triage(SIZES, EVEN_FS, THRESHOLDS_F, findings=[0], guarantee="conformal")


def test_a_score_is_the_least_margin_that_does_not_err() -> None:
    logits_NFS = images(300, 2)
    scores_NF = conformal_scores(EARLY, logits_NFS, EVEN_FS, THRESHOLDS_F)
    full_NF = stacked(logits_NFS, EVEN_FS) >= THRESHOLDS_F
    image, finding = np.unravel_index(int(scores_NF.argmax()), scores_NF.shape)
    score = float(scores_NF[image, finding])
    assert score > 0
    for factor, errs in ((1.001, False), (0.999, True)):
        tails = tuple((score * factor,) for _ in range(FINDINGS))
        early = EARLY.model_copy(
            update={"images": 999, "finding_tails": tails, "joint_tail": (score * factor,)}
            | {"predicts": (True,) * FINDINGS}
        )
        triage = decided(
            early, logits_NFS[image], EVEN_FS, THRESHOLDS_F, SIZES, [int(finding)], "conformal", 0.001
        )
        assert bool(triage.positive_F[finding] != full_NF[image, finding]) == errs
