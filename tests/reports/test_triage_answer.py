"""The guarantee in a triage answer: the check of the requested findings, and whether it covers the engine."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cxrserve.bundle.contract import read_contract, write_contract
from cxrserve.bundle.triage_calibration import Arithmetic, TriageCheck
from cxrserve.findings import NAMES, indices
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.pipeline.triage import run_triage
from cxrserve.reports.triage import TriageAnswer, triage_answer, triage_table
from cxrserve.settings import Settings
from tests import radiographs
from training.triage.calibrate import calibrate, fit_early_decisions

EPSILON = 0.01


def check(finding: str, differing: int) -> TriageCheck:
    """As a bundle keeps it; `differing` tells one from another."""
    return TriageCheck(
        guarantee="conformal",
        epsilon=EPSILON,
        findings=finding,
        data="others",
        images=1000,
        differing=differing,
        differing_above=0.001,
        differing_below=0.02,
        work=0.25,
        work_worst=1.0,
    )


def pipeline_on(bundle: Path, folder: Path, engine: str) -> Pipeline:
    """`bundle` with early decisions calibrated on numbers, as if `engine` had computed them."""
    shutil.copytree(bundle, folder)
    contract, _ = read_contract(folder)
    sizes = contract.preprocessing.sizes
    random = np.random.default_rng(0)
    logits_NFS = random.normal(0, 2, (400, 14, 1)) + random.normal(0, 0.3, (400, 14, len(sizes)))
    stack = (
        np.array(contract.stack),
        np.array([contract.operating_points[name].threshold for name in NAMES]),
        sizes,
    )
    early = calibrate(
        fit_early_decisions(logits_NFS[:200], *stack, data="numbers"),
        logits_NFS[None, 200:],
        *stack,
        data="other numbers",
        arithmetics=(Arithmetic(engine=engine, precisions=dict.fromkeys(sizes, "f32")),),
    )
    checked = (check("all", 100), *(check(name, number) for number, name in enumerate(NAMES)))
    early = early.model_copy(
        update={"checked": checked, "predicts": (True,) * len(NAMES), "predicts_all": True}
    )
    write_contract(folder, contract.model_copy(update={"triage": early}))
    return Pipeline(Settings(bundle=folder, engine="openvino", precision="f32", threads=1, decode_workers=1))


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with pipeline_on(tiny_bundle, tmp_path_factory.mktemp("covered") / "bundle", "openvino") as opened:
        yield opened


def answered(pipeline: Pipeline, *names: str, epsilon: float = EPSILON) -> TriageAnswer:
    decided = run_triage(
        pipeline,
        radiographs.jpeg(),
        findings=indices(names),
        guarantee="conformal",
        epsilon=epsilon,
    )
    return triage_answer(decided, pipeline.predictor.bundle)


@pytest.mark.parametrize(
    ("asked", "differing"),
    [
        (["Consolidation"], [NAMES.index("Consolidation")]),
        (["Fracture", "Edema"], [NAMES.index("Edema"), NAMES.index("Fracture")]),
        (list(NAMES), [100]),
        ([], [100]),
    ],
)
def test_the_check_is_that_of_what_was_asked(
    pipeline: Pipeline, asked: list[str], differing: list[int]
) -> None:
    guarantee = answered(pipeline, *asked).guarantee
    assert [each.differing for each in guarantee.checked] == differing
    assert guarantee.calibrated_on == "other numbers"


def test_no_check_is_shown_for_an_epsilon_that_was_not_checked(pipeline: Pipeline) -> None:
    assert answered(pipeline, "Consolidation", epsilon=0.008).guarantee.checked == []


def test_the_table_says_what_ran_what_it_cost_and_how_it_was_checked(pipeline: Pipeline) -> None:
    answer = answered(pipeline, "Consolidation")
    stream = io.StringIO()
    Console(file=stream, width=120).print(triage_table("film.jpg", answer))
    said = " ".join(stream.getvalue().split())
    assert f"conformal 0.01, ran {', '.join(map(str, answer.ran))}, {answer.work:.1%} of the work" in said
    assert "2 of 1000 differed (95 %: 0.10% to 2.00%)" in said


def test_a_promise_is_not_given_where_another_engine_was_calibrated(
    pipeline: Pipeline, tiny_bundle: Path, tmp_path: Path
) -> None:
    covered = answered(pipeline, "Edema")
    assert covered.guarantee.holds
    assert covered.guarantee.calibrated_with == ["openvino in f32"]
    assert not any("epsilon" in warning.message for warning in covered.warnings)
    with pipeline_on(tiny_bundle, tmp_path / "bundle", "onnxruntime") as other:
        answer = answered(other, "Edema")
        assert not answer.guarantee.holds
        (warning,) = (warning for warning in answer.warnings if "epsilon" in warning.message)
        assert "measured on onnxruntime in f32, and this is openvino in f32" in warning.message
        exact = triage_answer(run_triage(other, radiographs.jpeg()), other.predictor.bundle)
    assert exact.guarantee.holds
    assert not any("epsilon" in warning.message for warning in exact.warnings)
