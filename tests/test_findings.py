"""Tests of the table of findings."""

from __future__ import annotations

import pytest

from cxrserve.findings import FINDINGS, INDEX, NAMES, NO_FINDING, URGENCY_ORDER, canonical, indices


def test_the_order_is_the_alphabet_as_in_mimic() -> None:
    assert len(NAMES) == 14
    assert list(NAMES) == sorted(NAMES)
    assert [INDEX[name] for name in NAMES] == list(range(14))


@pytest.mark.parametrize(
    "spelling", ["Pleural Effusion", "pleural_effusion", "PLEURAL-EFFUSION", " pleural  effusion "]
)
def test_any_spelling_is_found(spelling: str) -> None:
    assert canonical(spelling) == "Pleural Effusion"


def test_an_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"unknown finding 'Knee'.*Pneumothorax"):
        indices(["Edema", "Knee"])


def test_codes_are_distinct_and_complete() -> None:
    codes = [(finding.code.scheme, finding.code.value) for finding in FINDINGS]
    assert len(set(codes)) == 14
    assert all(finding.code.meaning for finding in FINDINGS)
    # PS3.5 Section 6.2: Code Value is a short string of 16 characters at the most
    assert all(len(finding.code.value) <= 16 for finding in FINDINGS)


def test_cardiomegaly_is_the_disorder_not_the_x_ray_sign() -> None:
    assert FINDINGS[INDEX["Cardiomegaly"]].code.value == "8186001"


def test_the_order_of_urgency_has_every_finding_once_and_no_finding_last() -> None:
    assert sorted(URGENCY_ORDER) == list(NAMES)
    assert URGENCY_ORDER[-1] == NO_FINDING
