"""A new stack for a finished bundle, fitted on labelled images and served as it was fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrserve.bundle.contract import Contract, read_contract, write_contract
from cxrserve.ensemble.predictor import Predictor
from cxrserve.ensemble.stack import sigmoid
from cxrserve.errors import RequestError
from cxrserve.findings import INDEX, NAMES
from cxrserve.settings import Settings
from tests.bundles import write_tiny_bundle
from training.calibration.images import calibrated_on
from training.calibration.outputs import ImageOutputs, labelled, outputs_of, prediction_of
from training.calibration.restack import FITTED, parts, restacked_contract

SIZES = (64, 128)
DATA = "images drawn for the test"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle", SIZES)


@pytest.fixture(scope="module")
def images() -> list[ImageOutputs]:
    """Two images a study; the coarse member knows Edema but is far too sure, the fine one is noise."""
    random, made = np.random.default_rng(0), []
    for number in range(600):
        labels_F = (random.random(len(NAMES)) < 0.3).astype(np.float64)
        seen_F = 8 * labels_F - 4 + random.normal(0, 5, len(NAMES))
        count = int(labels_F.sum())
        made.append(
            ImageOutputs(
                logits={64: seen_F.astype(np.float32), 128: random.normal(0, 4, 14).astype(np.float32)},
                maps={
                    size: random.normal(0, 9, (count, size // 32, size // 32)).astype(np.float32)
                    for size in SIZES
                },
                labels_F=labels_F,
                study=number // 2,
            )
        )
    return made


def _contract(bundle: Path) -> Contract:
    return read_contract(bundle)[0]


def test_no_study_both_fits_the_stack_and_calibrates_it(images: list[ImageOutputs]) -> None:
    fitting, rest = parts(images)
    assert len(fitting) + len(rest) == len(images)
    assert len(fitting) == pytest.approx(FITTED * len(images), abs=2)
    assert not {image.study for image in fitting} & {image.study for image in rest}
    again, _ = parts(list(reversed(images)))
    assert {image.study for image in again} == {image.study for image in fitting}


def test_the_bundle_serves_the_new_stack_and_its_probabilities_are_better(
    bundle: Path, images: list[ImageOutputs]
) -> None:
    predictor = Predictor.open(Settings(bundle=bundle, precision="f32", threads=1))
    before = labelled(predictor, images, DATA)
    contract, table = calibrated_on(bundle, predictor, images, DATA, "calibrated")
    write_contract(bundle, contract)
    served = Predictor.open(Settings(bundle=bundle, precision="f32", threads=1))
    coarse, fine = contract.members
    for name in NAMES:
        assert coarse.calibration[name].slope == pytest.approx(16 / 25, rel=0.6)
        assert fine.calibration[name].slope < 0.15
        assert f"200 {DATA}" in coarse.calibration[name].data
        assert f"400 {DATA}" in contract.calibration_of(name).data
        assert contract.stack[INDEX[name]][0] > 0.6
        assert sum(contract.stack[INDEX[name]]) == pytest.approx(1, abs=1e-9)
    after = labelled(served, images, DATA)
    assert np.mean([gain.after for gain in table]) < np.mean([gain.before for gain in table])
    positive_NF, old = before.labels_NF > 0.5, np.clip(before.scores_NF, 1e-12, 1 - 1e-12)
    new = np.clip(
        np.stack(
            [contract.calibration_of(name).apply(after.scores_NF[:, at]) for at, name in enumerate(NAMES)], 1
        ),
        1e-12,
        1 - 1e-12,
    )
    loss = [-np.where(positive_NF, np.log(p_NF), np.log1p(-p_NF)).mean() for p_NF in (old, new)]
    assert loss[1] < 0.8 * loss[0], loss
    answer = prediction_of(served, images[0])
    np.testing.assert_allclose(
        answer.scores_F, (np.array(contract.stack) * sigmoid(answer.logits_FS)).sum(-1), atol=1e-9
    )


def test_what_belonged_to_the_old_stack_is_gone_and_the_lineage_says_why(
    bundle: Path, images: list[ImageOutputs]
) -> None:
    before = _contract(bundle)
    after = restacked_contract(before, images, DATA)
    assert after.triage is None
    assert after.metrics is None
    assert after.calibration == "identity"
    assert after.heatmap_scales == {}
    assert after.operating_points != before.operating_points
    assert (
        after.lineage.settings[-1] == f"stack.kind (calibrated, fitted by `models calibrate` on 600 {DATA})"
    )
    twice = restacked_contract(after, images, DATA)
    assert twice.lineage.settings == after.lineage.settings
    assert twice.members == after.members
    assert [member.sha256 for member in after.members] == [member.sha256 for member in before.members]


def test_members_that_know_different_findings_are_refused(bundle: Path, images: list[ImageOutputs]) -> None:
    contract = _contract(bundle)
    first = contract.members[0].model_copy(update={"findings": ("Edema",)})
    partial = contract.model_copy(update={"members": (first, contract.members[1])})
    with pytest.raises(RequestError, match="64 px with 1; 128 px with 14"):
        restacked_contract(partial, images, DATA)
    with pytest.raises(RequestError, match="two members or more"):
        restacked_contract(contract.model_copy(update={"members": contract.members[:1]}), images, DATA)


def test_kept_outputs_give_the_prediction_that_is_served(bundle: Path) -> None:
    predictor = Predictor.open(Settings(bundle=bundle, precision="f32", threads=1))
    random = np.random.default_rng(1)
    levels = {size: random.integers(0, 256, (size, size), np.uint8) for size in SIZES}
    labels_F = np.zeros(len(NAMES))
    labels_F[[2, 7]] = 1
    labels_F[3] = np.nan
    kept, served = outputs_of(predictor, levels, labels_F, 0), predictor.predict(levels, explain=[2, 7])
    again = prediction_of(predictor, kept)
    np.testing.assert_array_equal(again.scores_F, served.scores_F)
    assert set(again.maps) == {2, 7}
    for finding, map_GG in served.maps.items():
        np.testing.assert_array_equal(again.maps[finding], map_GG)
