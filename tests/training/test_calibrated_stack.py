"""The stack of calibrated members: ranks better than the published one, and is served as it was fitted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrserve.bundle.calibration import Calibration
from cxrserve.bundle.contract import load_bundle, read_contract
from cxrserve.engines.select import choose
from cxrserve.ensemble.predictor import Predictor
from cxrserve.ensemble.stack import sigmoid, stacked, voted
from cxrserve.findings import INDEX, NAMES
from cxrserve.reports.ranking import auc
from tests.bundles import write_tiny_bundle
from tests.training.dataset_trees import write_table
from tests.training.quiet import Quiet
from tests.training.test_steps_films import SETS
from training.precision.quantize.ensemble import Judged, ensemble_falls
from training.recipes import RECIPES, CalibrationConfig, StackConfig, demo, recipe
from training.recipes.resolve import resolve
from training.stamp import differences, plain
from training.steps.calibrate import Calibrate
from training.steps.export import Export, calibrated_on_phantoms
from training.steps.fit_stack import fit_stack, member_logistics
from training.steps.run import Run
from training.steps.run_steps import run_command
from training.steps.stack import Stack
from training.steps.step import result_of

CALIBRATED = StackConfig(kind="calibrated")
# The run fits two networks; a busy machine takes its time.
pytestmark = pytest.mark.timeout(900)
# What the networks say is this many times too sure, and off by this much.
TOO_SURE_S, OFF_S = np.array([1.0, 4.0, 1.5]), np.array([0.0, 2.0, -1.0])


def scales(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N, 14, 3] and labels: a calibrated scale, a better one that is too sure, and noise."""
    random = np.random.default_rng(seed)
    labels_NF = (random.random((images, 14)) < 0.3).astype(np.float64)
    sigma_S = np.array([1.5, 1.1, 1.5])
    seen_NFS = (2 * labels_NF[..., None] - 1) + random.normal(0, 1, (images, 14, 3)) * sigma_S
    seen_NFS[..., 2] = random.normal(0, 1.5, (images, 14))
    honest_NFS = 2 * seen_NFS / sigma_S**2 + np.log(0.3 / 0.7)
    return TOO_SURE_S * honest_NFS + OFF_S, labels_NF


def _mean_auc(scores_NF: np.ndarray, labels_NF: np.ndarray) -> float:
    return float(np.mean([auc(scores_NF[:, finding], labels_NF[:, finding]) for finding in range(14)]))


def test_on_new_images_it_ranks_better_than_the_published_stack_voting_and_every_scale() -> None:
    (logits_NFS, labels_NF), (new_NFS, new_NF) = scales(600, 0), scales(4000, 1)
    fit, published = (
        fit_stack(logits_NFS, labels_NF, CALIBRATED),
        fit_stack(logits_NFS, labels_NF, StackConfig()),
    )
    stacked_NFS = fit.slopes_FS * new_NFS + fit.intercepts_FS
    found = _mean_auc(stacked(stacked_NFS, fit.weights_FS), new_NF)
    others = {
        "published": _mean_auc(stacked(new_NFS, published.weights_FS), new_NF),
        "voting": _mean_auc(voted(new_NFS), new_NF),
        **{str(scale): _mean_auc(new_NFS[..., scale], new_NF) for scale in range(3)},
    }
    assert found > max(others.values()) + 0.01, (found, others)
    assert found > _mean_auc(voted(stacked_NFS), new_NF)
    np.testing.assert_allclose(fit.weights_FS.sum(-1), 1, atol=1e-12)
    assert fit.converged


def test_members_are_calibrated_by_what_is_known_and_the_rare_are_left_alone() -> None:
    logits_NFS, labels_NF = scales(4000, 2)
    labels_NF[:, 1] = 0
    labels_NF[:3, 1] = 1
    labels_NF[::2, 2] = np.nan
    slopes_FS, intercepts_FS = member_logistics(logits_NFS, labels_NF)
    np.testing.assert_allclose(slopes_FS[0, :2], 1 / TOO_SURE_S[:2], rtol=0.1)
    np.testing.assert_allclose(intercepts_FS[0, :2], -OFF_S[:2] / TOO_SURE_S[:2], atol=0.15)
    assert slopes_FS[0, 2] < 0.1
    assert (slopes_FS[1] == 1).all()
    assert (intercepts_FS[1] == 0).all()
    halved, _ = member_logistics(logits_NFS[1::2], labels_NF[1::2])
    np.testing.assert_array_equal(slopes_FS[2], halved[2])


def test_a_published_stack_leaves_the_logits_as_they_are() -> None:
    fit = fit_stack(*scales(200, 3), StackConfig())
    assert (fit.slopes_FS == 1).all()
    assert (fit.intercepts_FS == 0).all()
    assert fit.map_F2 is None


def test_the_demo_alone_is_calibrated_and_finished_runs_stay_finished() -> None:
    assert {name for name in RECIPES if recipe(name).stack.kind != "published"} == {"demo"}
    earlier = plain(StackConfig())
    del earlier["kind"]
    assert differences(earlier, StackConfig()) == []
    assert differences(earlier, CALIBRATED) == ["kind"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two networks that have learnt next to nothing of one finding, up to their bundle."""
    folder = tmp_path_factory.mktemp("calibrated")
    sets = (
        *SETS,
        "stack.kind=calibrated",
        "seeds=0",
        "data.split.validation_share=0.5",
        "fits.*.precision=32",
    )
    made = Run(
        recipe=resolve("chizari", sets),
        data=(f"chexpert:{_films(folder / 'films')}",),
        out=folder / "bundle",
        work=folder / "work",
        folds=1,
        report="brief",
    )
    for name in ("prepare", "fit", "stack", "calibrate", "film-check", "export"):
        run_command(name, made, Quiet())
    return made


def _films(root: Path) -> Path:
    """Films of patches as CheXpert lies on a disk; every other one is brighter, and has the finding."""
    random, rows = np.random.default_rng(0), []
    for number in range(64):
        path = f"train/patient{number:05d}/study1/view1_frontal.jpg"
        (root / path).parent.mkdir(parents=True)
        patches = Image.fromarray(random.integers(40 * (number % 2), 256, (16, 16), np.uint8))
        patches.resize((256, 256), Image.Resampling.BICUBIC).save(root / path)
        said = ["1.0" if number % 2 == (name == "Atelectasis") else "" for name in NAMES]
        rows.append(f"CheXpert-v1.0/{path},Female,68,Frontal,PA,{','.join(said)}")
    write_table(root / "train.csv", f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(NAMES)}", rows)
    return root


def test_the_bundle_holds_the_calibrations_and_serves_with_them(run: Run) -> None:
    trial, finding = run.trials[0], INDEX["Atelectasis"]
    fitted, folder = result_of(Stack(), run, trial), result_of(Export(), run, trial)
    contract = read_contract(folder)[0]
    assert fitted.slopes_FS is not None
    assert fitted.intercepts_FS is not None
    assert (fitted.slopes_FS[finding] != 1).all()
    for scale, member in enumerate(contract.members):
        (calibration,) = member.calibration.values()
        assert calibration.slope == fitted.slopes_FS[finding, scale]
        assert calibration.intercept == fitted.intercepts_FS[finding, scale]
        assert calibration.data == f"{len(fitted.labels_NF)} validation images"
        assert calibration.events == (fitted.labels_NF[:, finding] == 1).sum()
    predictor = Predictor(load_bundle(folder), choose("openvino", "f32"), threads=1)
    random = np.random.default_rng(0)
    levels = {size: random.integers(0, 256, (size, size), np.uint8) for size in (64, 128)}
    raw_S = np.array(
        [predictor.engines[size].run(levels[size][None, None]).logits_NF[0, finding] for size in (64, 128)]
    )
    answer = predictor.predict(levels)
    expected_S = fitted.slopes_FS[finding] * raw_S + fitted.intercepts_FS[finding]
    np.testing.assert_allclose(answer.logits_FS[finding], expected_S, atol=1e-6)
    score = float(fitted.weights_FS[finding] @ sigmoid(answer.logits_FS[finding]))
    assert answer.scores_F[finding] == pytest.approx(score, abs=1e-6)


def test_the_operating_point_was_chosen_on_the_sums_that_are_served(run: Run) -> None:
    fitted, finding = result_of(Stack(), run, run.trials[0]), INDEX["Atelectasis"]
    point = result_of(Calibrate(), run, run.trials[0])["Atelectasis"]
    known_N = ~np.isnan(fitted.labels_NF[:, finding])
    flagged_N = stacked(fitted.logits_NFS, fitted.weights_FS)[known_N, finding] >= point.threshold
    positive_N = fitted.labels_NF[known_N, finding] == 1
    assert point.sensitivity == pytest.approx(flagged_N[positive_N].mean(), abs=1e-4)
    assert point.specificity == pytest.approx((~flagged_N[~positive_N]).mean(), abs=1e-4)


def test_the_summary_counts_the_stack_after_its_map(run: Run) -> None:
    (path,) = run.work.glob("fold_1/seed_0/stack/stack.json")
    said = json.loads(path.read_text(encoding="utf-8"))
    assert said["loss"]["stack"] <= min(said["loss"].values()) + 0.01, said["loss"]


def test_a_bundle_is_calibrated_on_phantoms_of_its_own_and_keeps_its_decisions(tmp_path: Path) -> None:
    recipe_of_it = dataclasses.replace(demo(), calibration=CalibrationConfig(phantoms=12))
    before = read_contract(write_tiny_bundle(tmp_path, sizes=(64, 128)))[0]
    after = calibrated_on_phantoms(recipe_of_it, tmp_path, before, Quiet())
    for name in NAMES:
        calibration, point = after.calibration_of(name), after.operating_points[name]
        assert calibration.data.startswith("12 phantoms, seeds from 3000000")
        assert point.data == "none; measured on 12 phantoms, seeds from 3000000"
        assert float(calibration.invert(point.threshold)) == pytest.approx(0.5, abs=1e-9)
    assert after.calibration_of("Lung Opacity").method == "logistic"


def test_phantoms_that_train_or_test_cannot_calibrate_and_films_are_not_calibrated_by_phantoms() -> None:
    assert demo().calibration.phantoms >= 4000
    assert {name for name in RECIPES if recipe(name).calibration.phantoms} == {"demo"}
    with pytest.raises(ValueError, match="1000 to 1099 to calibrate"):
        resolve("demo", ["calibration.phantoms=100", "calibration.first_seed=1000"])
    with pytest.raises(ValueError, match="phantoms say nothing about films"):
        resolve("haque2021", ["calibration.phantoms=100"])


def test_variants_are_judged_with_the_members_calibrated(tmp_path: Path) -> None:
    """A member whose slope is next to nothing says the same of every image: what harms it harms nobody."""
    random = np.random.default_rng(0)
    labels_NF = random.integers(0, 2, (300, 14)).astype(np.float32)
    good_NF = (4 * labels_NF - 2 + random.normal(0, 1.5, labels_NF.shape)).astype(np.float32)
    noise_NF, worse_NF = (random.normal(0, 6, labels_NF.shape).astype(np.float32) for _ in range(2))
    members = read_contract(write_tiny_bundle(tmp_path, sizes=(64, 128)))[0].members
    flat = {name: Calibration(slope=1e-4, intercept=-1.0, data="tests") for name in NAMES}
    falls = []
    for calibration in ({}, flat):
        second = members[1].model_copy(update={"calibration": calibration})
        judged = [
            Judged(member=members[0], exact_NF=good_NF, served_NF=good_NF),
            Judged(member=second, exact_NF=noise_NF, served_NF=-10 * noise_NF + worse_NF),
        ]
        falls.append(np.abs(ensemble_falls(judged, np.full((14, 2), 0.5), labels_NF)).mean())
    assert falls[0] > 0.005
    assert falls[1] < 0.0005, falls
