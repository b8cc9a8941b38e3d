"""Label policies turn source labels into targets and masks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxrserve.findings import INDEX, NAMES
from tests.training.dataset_trees import labels
from training.datasets.labels import (
    POLICIES,
    LabelPolicy,
    Labels,
    Uncertain,
    apply_policy,
    co_occurrence,
    study_targets,
    with_a_positive,
)

NAN = float("nan")
many_labels = st.integers(1, 6).flatmap(
    lambda count: arrays(np.float32, (count, 14), elements=st.sampled_from([1.0, 0.0, -1.0, NAN]))
)


def _one(label: float, policy: LabelPolicy, annotated: tuple[str, ...] = NAMES) -> tuple[float, bool]:
    targets_NF, mask_NF = apply_policy(labels(edema=label)[None], policy, annotated)
    return float(targets_NF[0, INDEX["Edema"]]), bool(mask_NF[0, INDEX["Edema"]])


@pytest.mark.parametrize(
    ("uncertain", "label", "expected"),
    [
        # positive, negative, uncertain, not mentioned under U-Zeros, U-Ones and U-Ignore
        *(("zeros", label, (target, True)) for label, target in ((1, 1), (0, 0), (-1, 0), (NAN, 0))),
        *(("ones", label, (target, True)) for label, target in ((1, 1), (0, 0), (-1, 1), (NAN, 0))),
        *(("ignore", label, (target, True)) for label, target in ((1, 1), (0, 0), (NAN, 0))),
        ("ignore", -1, (0, False)),
    ],
)
def test_policy(uncertain: Uncertain, label: float, expected: tuple[float, bool]) -> None:
    assert _one(label, LabelPolicy(uncertain=uncertain)) == expected


def test_each_finding_may_have_its_own_policy() -> None:
    policy = LabelPolicy(uncertain="zeros", overrides={"EDEMA": "ones", "lung_lesion": "ignore"})
    targets_NF, mask_NF = apply_policy(np.full((1, 14), -1, np.float32), policy)
    assert [name for name, target in zip(NAMES, targets_NF[0], strict=True) if target] == ["Edema"]
    assert [name for name, counts in zip(NAMES, mask_NF[0], strict=True) if not counts] == ["Lung Lesion"]


def test_silence_may_be_masked() -> None:
    policy = LabelPolicy(unmentioned="ignore")
    assert [_one(label, policy) for label in (1, 0, -1, NAN)] == [(1, True), (0, True), (0, True), (0, False)]


def test_what_the_source_never_annotates_is_masked() -> None:
    others = tuple(name for name in NAMES if name != "Edema")
    assert _one(NAN, LabelPolicy(), others) == (0, False)
    assert _one(NAN, LabelPolicy()) == (0, True)


@given(
    many_labels,
    st.sampled_from(POLICIES),
    st.sampled_from(["zeros", "ignore"]),
    st.sets(st.sampled_from(NAMES)),
)
def test_targets_are_binary_and_masked_ones_are_zero(
    labels_NF: Labels, uncertain: Uncertain, unmentioned: Uncertain, annotated: set[str]
) -> None:
    policy = LabelPolicy(uncertain=uncertain, unmentioned=unmentioned)  # type: ignore[arg-type]
    targets_NF, mask_NF = apply_policy(labels_NF, policy, tuple(annotated))
    assert targets_NF.dtype == np.float32
    assert mask_NF.dtype == np.bool_
    assert np.isin(targets_NF, (0, 1)).all()
    assert not targets_NF[~mask_NF].any()
    known_NF = np.isin(labels_NF, (0, 1)) & np.isin(NAMES, list(annotated))
    assert mask_NF[known_NF].all()
    np.testing.assert_array_equal(targets_NF[known_NF], labels_NF[known_NF])


@pytest.mark.parametrize("bad", [{"uncertain": "multi-class"}, {"overrides": {"Edema": "one"}}])
def test_an_unknown_policy(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected one of zeros, ones, ignore"):
        LabelPolicy(**bad)  # type: ignore[arg-type]


def test_an_unknown_finding_or_word() -> None:
    with pytest.raises(ValueError, match="unknown finding 'Oedema'"):
        LabelPolicy(overrides={"Oedema": "ones"})
    with pytest.raises(ValueError, match="expected zeros or ignore"):
        LabelPolicy(unmentioned="ones")  # type: ignore[arg-type]


def test_with_a_positive() -> None:
    rows = (labels(no_finding=1), labels(edema=-1), labels(edema=0), labels(edema=1, fracture=0))
    targets_NF, _ = apply_policy(np.stack(rows), LabelPolicy(uncertain="zeros"))
    assert with_a_positive(targets_NF).tolist() == [True, False, False, True]


def test_study_targets() -> None:
    """Positives and uncertain against explicit negatives and No Finding (Chizari, section 5.1)."""
    rows = (
        labels(atelectasis=1),
        labels(atelectasis=-1, edema=1),
        labels(no_finding=1),
        labels(atelectasis=0, edema=1),
        labels(edema=1),
        labels(atelectasis=-1, no_finding=1),
    )
    targets_N, keep_N = study_targets(np.stack(rows), "atelectasis")
    assert targets_N.tolist() == [1, 1, 0, 0, 0, 1]
    assert keep_N.tolist() == [True, True, True, True, False, True]
    with pytest.raises(ValueError, match="choose one of the other 13"):
        study_targets(np.stack(rows), "No Finding")


def test_the_negatives_of_chizari_are_those_of_its_tables() -> None:
    """1,007 studies deny Atelectasis (Table 2), 16,627 have No Finding (Table 1), 369 both: 17,265."""
    both, denied, normal = 369, 1007 - 369, 16_627 - 369
    rows = np.repeat(
        np.stack([labels(atelectasis=0, no_finding=1), labels(atelectasis=0), labels(no_finding=1)]),
        [both, denied, normal],
        axis=0,
    )
    targets_N, keep_N = study_targets(rows, "Atelectasis")
    assert keep_N.sum() == 17_265
    assert not targets_N.any()


def test_co_occurrence_by_hand() -> None:
    rows = (labels(edema=1, fracture=1), labels(edema=1, fracture=-1), labels(edema=1), labels(no_finding=1))
    table = co_occurrence(np.stack(rows))
    edema, fracture, pneumonia = INDEX["Edema"], INDEX["Fracture"], INDEX["Pneumonia"]
    assert table.share_F[edema] == 75
    assert table.matrix_FF[edema, fracture] == pytest.approx(100 / 3)
    assert table.matrix_FF[fracture, edema] == 100
    assert np.isnan(table.matrix_FF[pneumonia]).all()
    with pytest.raises(ValueError, match="at least one image"):
        co_occurrence(np.empty((0, 14), np.float32))


@given(many_labels)
def test_co_occurrence_by_counting(labels_NF: Labels) -> None:
    table = co_occurrence(labels_NF)
    for f, g in itertools.product(range(14), repeat=2):
        with_f = [row for row in labels_NF if row[f] == 1]
        if with_f:
            both = sum(row[g] == 1 for row in with_f)
            assert table.matrix_FF[f, g] == pytest.approx(100 * both / len(with_f))
