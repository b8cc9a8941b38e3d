"""Early decisions: the exact ones are the full ensemble's, always; the others as often as promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cxrserve.bundle.triage_calibration import Arithmetic, TriageCalibration
from cxrserve.ensemble.stack import stacked
from cxrserve.ensemble.triage import Triage, doubts, exact_bounds, margin
from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from cxrserve.pipeline.triage import asked_findings
from training.triage.calibrate import calibrate, conformal_scores, fit_early_decisions
from training.triage.check import check_triage, clopper_pearson, decided

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
ARITHMETIC = Arithmetic(engine="arithmetic", precisions=dict.fromkeys(SIZES, "f32"))
FITTED = fit_early_decisions(images(1000, 3), EVEN_FS, THRESHOLDS_F, SIZES, data="numbers")
MEASURED_NFS = images(2000, 0)
CALIBRATION = calibrate(
    FITTED, MEASURED_NFS[None], EVEN_FS, THRESHOLDS_F, SIZES, data="numbers", arithmetics=(ARITHMETIC,)
)

logits_of_one: Any = arrays(np.float64, (FINDINGS, 4), elements=st.floats(-30, 30))
shares: Any = arrays(np.float64, (FINDINGS, 4), elements=st.floats(0, 1))
thresholds: Any = arrays(np.float64, (FINDINGS,), elements=st.floats(0, 1))


@settings(deadline=None)
@given(logits_FS=logits_of_one, raw_FS=shares, thresholds_F=thresholds, alone=st.integers(-1, FINDINGS - 1))
def test_exact_decisions_are_those_of_the_full_ensemble(
    logits_FS: Floats, raw_FS: Floats, thresholds_F: Floats, alone: int
) -> None:
    weights_FS = weights(raw_FS)
    findings = list(range(FINDINGS)) if alone < 0 else [alone]
    # The order of CALIBRATION was measured on other weights: it may cost work, never a decision.
    triage = decided(CALIBRATION, logits_FS, weights_FS, thresholds_F, SIZES, findings, "exact", 0.01)
    full_F = stacked(logits_FS[None], weights_FS)[0]
    assert set(findings) <= set(triage.settled_by)
    assert ((full_F >= thresholds_F) == triage.positive_F)[findings].all()
    assert (triage.bounds.lower_F <= full_F + 1e-12).all()
    assert (full_F <= triage.bounds.upper_F + 1e-12).all()


def zeroed(weights_FS: Floats, none_FS: NDArray[np.bool_]) -> Floats:
    """`weights_FS` with exact zeros, as of members that do not know a finding; one weight always stays."""
    none_FS = none_FS.copy()
    none_FS[np.arange(len(none_FS)), weights_FS.argmax(axis=1)] = False
    weights_FS = np.where(none_FS, 0.0, weights_FS)
    rows_FS: Floats = weights_FS / weights_FS.sum(axis=1, keepdims=True)
    return rows_FS


@settings(deadline=None)
@given(
    logits_FS=logits_of_one,
    raw_FS=shares,
    none_FS=arrays(np.bool_, (FINDINGS, 4)),
    steps_F=arrays(np.int8, (FINDINGS,), elements=st.integers(-2, 2)),
    alone=st.integers(-1, FINDINGS - 1),
    calibration=st.sampled_from([None, CALIBRATION]),
)
def test_a_threshold_on_the_probability_itself_is_decided_as_the_ensemble_does(
    logits_FS: Floats,
    raw_FS: Floats,
    none_FS: NDArray[np.bool_],
    steps_F: NDArray[np.int8],
    alone: int,
    calibration: TriageCalibration | None,
) -> None:
    weights_FS = zeroed(weights(raw_FS), none_FS)
    full_F = stacked(logits_FS[None], weights_FS)[0]
    # The probability itself, and the numbers one and two steps of a double below and above it.
    thresholds_F = full_F.copy()
    for _ in range(2):
        thresholds_F = np.where(steps_F < 0, np.nextafter(thresholds_F, -1), thresholds_F)
        thresholds_F = np.where(steps_F > 0, np.nextafter(thresholds_F, 2), thresholds_F)
        steps_F = steps_F - np.sign(steps_F)
    findings = list(range(FINDINGS)) if alone < 0 else [alone]
    triage = decided(calibration, logits_FS, weights_FS, thresholds_F, SIZES, findings, "exact", 0.01)
    assert set(triage.settled_by) == set(findings)
    assert ((full_F >= thresholds_F) == triage.positive_F)[findings].all()


def test_a_probability_at_its_threshold_is_settled_by_the_scales_that_weigh() -> None:
    logits_FS = np.random.default_rng(1).normal(0, 1, (FINDINGS, 4))
    weights_FS = EVEN_FS.copy()
    weights_FS[0] = [1, 0, 0, 0]
    thresholds_F = stacked(logits_FS[None], weights_FS)[0]
    triage = decided(None, logits_FS, weights_FS, thresholds_F, SIZES, [0], "exact", 0.01)
    assert triage.settled_by == {0: 256}
    assert triage.positive_F[0]
    assert triage.bounds.lower_F[0] == triage.bounds.upper_F[0] == thresholds_F[0]


def test_scales_without_weight_on_what_is_asked_do_not_run() -> None:
    weights_FS = EVEN_FS.copy()
    weights_FS[0] = [1, 0, 0, 0]
    triage = Triage(SIZES, weights_FS, THRESHOLDS_F, findings=[0])
    assert triage.next_size() == 256
    triage.record(256, np.full(FINDINGS, 5.0))
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


@pytest.mark.parametrize("epsilon", [0.002, 0.01])
def test_conformal_decisions_differ_no_more_often_than_promised(epsilon: float) -> None:
    logits_NFS = images(1000, 1)
    checks = check_triage(
        CALIBRATION,
        logits_NFS[None],
        EVEN_FS,
        THRESHOLDS_F,
        SIZES,
        data="others",
        epsilon=epsilon,
        single_findings=(7,),
    )
    by_what = {(check.guarantee, check.findings): check for check in checks}
    together = by_what["conformal", "all"]
    # The promise is kept on average over calibrations; this one was of 2,000 images, and 1,000 are counted.
    spread = np.sqrt(epsilon * (1 / 2000 + 1 / 1000))
    assert together.differing / 1000 <= epsilon + 3 * spread
    assert by_what["exact", "all"].differing == 0
    assert together.work <= by_what["exact", "all"].work
    assert all(check.work <= check.work_worst <= 1 for check in checks)
    assert (together.differing_above, together.differing_below) == pytest.approx(
        clopper_pearson(together.differing, 1000), abs=1e-6
    )


def test_a_prediction_never_leaves_the_exact_bounds() -> None:
    # Scales that contradict each other wildly, as in no image that CALIBRATION was fitted on.
    for logits_FS in np.random.default_rng(5).normal(0, 6, (50, FINDINGS, 4)):
        triage = Triage(
            SIZES,
            EVEN_FS,
            THRESHOLDS_F,
            findings=range(FINDINGS),
            guarantee="conformal",
            calibration=CALIBRATION,
            epsilon=0.01,
        )
        while (size := triage.next_size()) is not None:
            triage.record(size, logits_FS[:, SIZES.index(size)])
            assert (triage.bounds.lower_F <= triage.bounds.upper_F).all()


def test_a_promise_that_was_not_calibrated_is_refused() -> None:
    with pytest.raises(RequestError, match="calibrated on 2000 images"):
        Triage(
            SIZES,
            EVEN_FS,
            THRESHOLDS_F,
            findings=[0],
            guarantee="conformal",
            calibration=CALIBRATION,
            epsilon=0.0001,
        )
    with pytest.raises(RequestError, match="no calibration"):
        Triage(SIZES, EVEN_FS, THRESHOLDS_F, findings=[0], guarantee="conformal")


def test_a_score_is_the_least_margin_that_does_not_err() -> None:
    logits_NFS = images(300, 2)
    scores_NF = conformal_scores(CALIBRATION, logits_NFS, EVEN_FS, THRESHOLDS_F)
    full_NF = stacked(logits_NFS, EVEN_FS) >= THRESHOLDS_F
    image, finding = np.unravel_index(int(scores_NF.argmax()), scores_NF.shape)
    score = float(scores_NF[image, finding])
    assert score > 0
    for factor, errs in ((1.001, False), (0.999, True)):
        calibration = CALIBRATION.model_copy(
            update={"images": 999, "worst": ((score * factor,) * FINDINGS,), "predicts": (True,) * FINDINGS}
        )
        triage = decided(
            calibration, logits_NFS[image], EVEN_FS, THRESHOLDS_F, SIZES, [int(finding)], "conformal", 0.001
        )
        assert bool(triage.positive_F[finding] != full_NF[image, finding]) == errs


@pytest.mark.parametrize("findings", [[3], [0, 5], [1, 2, 13], list(range(FINDINGS))])
def test_the_margin_is_the_quantile_of_the_findings_that_are_decided(findings: list[int]) -> None:
    scores_NF = conformal_scores(CALIBRATION, MEASURED_NFS, EVEN_FS, THRESHOLDS_F)
    largest_N = np.sort(scores_NF[:, findings].max(axis=1))[::-1]
    for rank in (1, 2, 7, CALIBRATION.reach):
        assert margin(CALIBRATION, rank / 2001, findings) == pytest.approx(largest_N[rank - 1], abs=1e-4)
        assert margin(CALIBRATION, rank / 2001, findings) >= largest_N[rank - 1]


def test_a_margin_holds_in_each_arithmetic_it_was_measured_in() -> None:
    measured_NFS = images(100, 6)
    other_NFS = measured_NFS + np.random.default_rng(8).normal(0, 0.05, measured_NFS.shape)
    both = calibrate(
        FITTED,
        np.stack([measured_NFS, other_NFS]),
        EVEN_FS,
        THRESHOLDS_F,
        SIZES,
        data="numbers",
        arithmetics=(ARITHMETIC, ARITHMETIC),
    )
    for logits_NFS in (measured_NFS, other_NFS):
        one = calibrate(
            FITTED, logits_NFS[None], EVEN_FS, THRESHOLDS_F, SIZES, data="numbers", arithmetics=()
        )
        assert margin(both, 0.03, range(FINDINGS)) >= margin(one, 0.03, range(FINDINGS))


def test_where_nothing_went_wrong_there_is_no_margin() -> None:
    calibration = CALIBRATION.model_copy(update={"worst": ((0.5,) + (0.0,) * 13,)})
    assert margin(calibration, 1 / 2001, [0]) == 0.5
    assert margin(calibration, 2 / 2001, [0]) == 0
    assert margin(calibration, 1 / 2001, [1]) == 0


def test_a_bundle_that_kept_tails_by_finding_keeps_its_promises() -> None:
    scores_NF = conformal_scores(CALIBRATION, MEASURED_NFS, EVEN_FS, THRESHOLDS_F)
    tails = [sorted(scores_N, reverse=True)[:20] for scores_N in scores_NF.T.tolist()]
    said = CALIBRATION.model_dump(exclude={"worst", "reach", "arithmetics", "caveats", "fitted_on"})
    old = TriageCalibration.model_validate({**said, "finding_tails": tails, "joint_tail": []})
    assert margin(old, 5 / 2001, [4]) == pytest.approx(margin(CALIBRATION, 5 / 2001, [4]), abs=1e-4)
    assert margin(old, 5 / 2001, [4, 5]) >= margin(CALIBRATION, 5 / 2001, [4, 5]) - 1e-4
    assert "does not say on which engine" in " ".join(doubts(old, ARITHMETIC))


def test_another_engine_or_precision_is_not_covered() -> None:
    assert not doubts(CALIBRATION, ARITHMETIC)
    for other in (
        ARITHMETIC.model_copy(update={"engine": "abacus"}),
        ARITHMETIC.model_copy(update={"precisions": {**ARITHMETIC.precisions, 2048: "int8"}}),
    ):
        (doubt,) = doubts(CALIBRATION, other)
        assert str(ARITHMETIC) in doubt
        assert str(other) in doubt
    caveat = "Half of the films were one patient's."
    assert doubts(CALIBRATION.model_copy(update={"caveats": (caveat,)}), ARITHMETIC) == (caveat,)


@pytest.mark.parametrize(
    ("events", "trials", "low", "high"),
    [
        (0, 750, 0.0, 0.0049064),
        (2, 750, 0.0003231, 0.0095994),
        (375, 750, 0.4636097, 0.5363903),
        (5, 5, 0.4781762, 1),
    ],
)
def test_both_ends_of_the_interval(events: int, trials: int, low: float, high: float) -> None:
    # Of scipy.stats.beta.ppf.
    assert clopper_pearson(events, trials) == pytest.approx((low, high), abs=1e-7)


def test_findings_are_asked_for_by_name() -> None:
    assert asked_findings("all") == ()
    assert [NAMES[finding] for finding in asked_findings("edema,pleural_effusion")] == [
        "Edema",
        "Pleural Effusion",
    ]
    with pytest.raises(RequestError, match="Toothache"):
        asked_findings("Toothache")
