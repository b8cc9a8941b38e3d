"""Early decisions as a run makes them: fitted on validation logits, checked on the test's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrserve.bundle.contract import Contract, read_contract
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.findings import NAMES
from tests.bundles import write_tiny_bundle
from training.steps import triage as steps
from training.steps.triage import calibrated, chosen, early_decisions, one_a_patient

ARITHMETIC = Arithmetic(engine="openvino", precisions={64: "f32", 128: "f32"})


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """Of two sizes; nobody knows Fracture."""
    whole, _ = read_contract(write_tiny_bundle(tmp_path_factory.mktemp("early") / "tiny", (64, 128)))
    known = tuple(name for name in NAMES if name != "Fracture")
    return whole.model_copy(
        update={
            "members": tuple(member.model_copy(update={"findings": known}) for member in whole.members),
            "stack": tuple(
                row if name in known else (0.0, 0.0) for name, row in zip(NAMES, whole.stack, strict=True)
            ),
            "operating_points": {name: whole.operating_points[name] for name in known},
            "unavailable": ("Fracture",),
        }
    )


def logits(count: int, seed: int) -> np.ndarray:
    """Two scales that mostly agree, [N, 14, 2]."""
    random = np.random.default_rng(seed)
    common = random.normal(0, 2, (count, len(NAMES), 1))
    return common + random.normal(0, 0.3, (count, len(NAMES), 2))


def test_they_are_fitted_and_checked_on_other_images_than_they_were_fitted_on(contract: Contract) -> None:
    early = early_decisions(logits(80, 0), contract, "80 validation images")
    assert early is not None
    assert (early.fitted_on, early.images) == ("80 validation images", 0)
    # Two images of each of 50 patients.
    found = calibrated(
        early, logits(100, 1), np.arange(100) // 2, contract, "test images", arithmetic=ARITHMETIC
    )
    assert (found.data, found.images) == ("25 test images, one a patient", 25)
    assert found.arithmetics == (ARITHMETIC,)
    assert {check.data for check in found.checked} == {"25 test images, one a patient, others"}
    # What nobody judges has no decision to come early.
    assert {check.findings for check in found.checked} == {"all", *contract.operating_points}
    assert all(check.differing == 0 for check in found.checked if check.guarantee == "exact")
    promised = {check.epsilon for check in found.checked if check.guarantee == "conformal"}
    assert promised == {1 / 26}
    # The contract that holds them is one that serves.
    held = contract.model_copy(update={"triage": found})
    assert Contract.model_validate_json(held.model_dump_json()) == held


def test_margins_and_their_check_come_from_different_patients() -> None:
    patient_N = np.random.default_rng(4).integers(0, 30, 200)
    rows = one_a_patient(patient_N)
    assert sorted(patient_N[rows]) == sorted(set(patient_N.tolist()))
    # Any of a patient's images may be the one.
    assert len(set(rows.tolist()) - set(np.unique(patient_N, return_index=True)[1].tolist())) > 10


def test_one_patient_promises_nothing(contract: Contract) -> None:
    early = early_decisions(logits(80, 0), contract, "images")
    assert early is not None
    same = np.zeros(30, np.int64)
    assert calibrated(early, logits(30, 1), same, contract, "images", arithmetic=ARITHMETIC) is early


def test_too_few_images_promise_nothing(contract: Contract) -> None:
    assert early_decisions(logits(39, 0), contract, "images") is None


def test_one_scale_has_nothing_to_leave_out(tmp_path: Path) -> None:
    alone, _ = read_contract(write_tiny_bundle(tmp_path / "tiny", (64,)))
    assert early_decisions(logits(80, 0)[..., :1], alone, "images") is None


def test_of_many_images_some_are_looked_at(contract: Contract) -> None:
    assert chosen(5) == [0, 1, 2, 3, 4]
    many = chosen(100_000)
    assert len(many) == steps.MAX_IMAGES
    assert (many[0], many[-1]) == (0, 99_999)
    assert np.ptp(np.diff(many)) <= 1
