"""The steps of a run by themselves: what a recipe's fields become, what is done again and what is not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrserve.findings import INDEX, NAMES
from tests.training.dataset_trees import labels, manifest, sample
from training.cache import PyramidCache
from training.cli.options import run_options
from training.datasets.faults import DatasetError
from training.datasets.labels import LabelPolicy
from training.recipes import RECIPES, DatasetData, SampleUnit, recipe
from training.recipes.config import SplitConfig
from training.recipes.overrides import OverrideError
from training.recipes.resolve import resolve
from training.stamp import Stamp, differences, key_of, plain, read_stamp, write_stamp
from training.steps.fit_stack import loss_of
from training.steps.lock import alone_in
from training.steps.plan import make_plan, need
from training.steps.prepare import cache_folder, make_splits, prepared
from training.steps.run import Run, Trial
from training.steps.stack import compared, of_units
from training.steps.step import STAMP, STARTED, StepError, find_folder, why_not_in
from training.steps.targets import kept, targets

DATA = DatasetData(source="folder", split=SplitConfig(kind="random"))


def test_recipes_share_their_pyramids(tmp_path: Path) -> None:
    data, of_films = ["folder:films"], manifest([sample(1), sample(2)])
    both = [run_options(name, data=data) for name in ("haque2021", "haque2023-efficientnet-b4")]
    assert {run.cache_folder for run in both} == {Path("runs/cache")}
    assert len({cache_folder(of_films, run.recipe.preprocessing) for run in both}) == 1
    assert run_options("haque2021", data=data, work=tmp_path).cache_folder == tmp_path / "cache"
    assert (
        run_options("haque2021", data=data, work=tmp_path, cache=tmp_path / "c").cache_folder
        == tmp_path / "c"
    )


@pytest.mark.parametrize(
    ("assignment", "found"),
    [
        ("fits.256.epochs=3", lambda made: made.fits[256].epochs == 3 and made.fits[512].epochs != 3),
        ("fits.*.epochs=3", lambda made: {fit.epochs for fit in made.fits.values()} == {3}),
        ("fits.512.augment.flip=false", lambda made: made.fits[512].augment.flip is False),
        ("fits.256.learning_rate=1e-3", lambda made: made.fits[256].learning_rate == 1e-3),
        ("seeds=3,4", lambda made: made.seeds == (3, 4)),
        ("data.split.kind=official", lambda made: made.data.split.kind == "official"),
        ("data.finding=Edema", lambda made: made.data.finding == "Edema"),
        ("data.finding=none", lambda made: made.data.finding is None),
        (
            'data.policy.overrides={"Edema": "ones"}',
            lambda made: made.data.policy.overrides["Edema"] == "ones",
        ),
        (
            "data.policy.overrides.Pleural Effusion=ones",
            lambda made: made.data.policy.overrides == {"Pleural Effusion": "ones"},
        ),
        ("preprocessing.filter=lanczos", lambda made: made.preprocessing.filter == "lanczos"),
    ],
)
def test_any_field_can_be_set(assignment: str, found: object) -> None:
    assert callable(found)
    assert found(resolve("haque2021", [assignment]))


def test_other_sizes_are_fitted_as_the_nearest_one_whatever_the_order() -> None:
    made = resolve("haque2021", ["fits.64.batch=5", "preprocessing.sizes=64,1024"])
    own = recipe("haque2021")
    assert set(made.fits) == {64, 1024}
    assert made.fits[64] == dataclasses.replace(own.fits[256], batch=5)
    assert made.fits[1024] == own.fits[1024]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("fits.256.epoch=3", r"no 'fits.256.epoch' .* fits.256.epochs"),
        ("batch=3", r"no 'batch' .* fits\.\d+\.batch"),
        ("fits.256.epochs=three", "'three' is not a whole number"),
        ("fits.256.schedule=cosine", "one-cycle"),
        ("fits.256.epochs=0", "expected at least 1"),
        ("data.policy.uncertain=maybe", "zeros"),
        ("data.policy.overrides.Edema=maybe", "zeros"),
        ("data.policy.overrides.Measles=ones", "Measles"),
        ("fits.100.epochs=3", "no 'fits.100.epochs'"),
        ("epochs", "expected key=value"),
        ("preprocessing.sizes=128,64", "ascend"),
        ("preprocessing.sizes=100", "multiple of 32"),
    ],
)
def test_what_cannot_be_set_is_said(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve("haque2021", [assignment])


def test_a_run_needs_the_data_its_recipe_is_for(tmp_path: Path) -> None:
    places: dict[str, Any] = {"out": tmp_path / "out", "work": tmp_path / "work"}
    with pytest.raises(ValueError, match="mimic-cxr-jpg:/path"):
        Run(recipe=recipe("haque2021"), **places)
    with pytest.raises(ValueError, match="draws its own phantoms"):
        Run(recipe=recipe("demo"), data=("folder:x",), **places)
    with pytest.raises(ValueError, match="has 1 to 5"):
        Run(recipe=recipe("haque2021"), data=("folder:x",), folds=6, **places)


def test_every_fold_and_seed_is_a_trial(tmp_path: Path) -> None:
    places: dict[str, Any] = {"out": tmp_path, "work": tmp_path, "data": ("folder:x",)}
    folds = Run(recipe=recipe("haque2021"), folds=2, **places).trials
    assert folds == (Trial(fold=1, seed=0), Trial(fold=2, seed=0))
    seeds = Run(recipe=recipe("chizari"), **places).trials
    assert [trial.seed for trial in seeds] == [0, 1, 2, 3, 4]


def finished(folder: Path, inputs: Mapping[str, object]) -> Path:
    """A step that was done in `folder` with these inputs."""
    folder.mkdir(parents=True)
    (folder / "weights").write_text("w", encoding="utf-8")
    write_stamp(folder / STAMP, Stamp(step="fit", inputs=plain(inputs), outputs={"weights": "0"}))
    return folder


def test_a_step_is_done_again_when_an_input_changed_or_an_output_is_missing(tmp_path: Path) -> None:
    inputs: dict[str, object] = {"data": "a", "rate": 0.1}
    assert why_not_in(tmp_path, "fit", inputs) == "not done yet"
    finished(find_folder(tmp_path, "fit", inputs), inputs)
    assert why_not_in(tmp_path, "fit", inputs) is None
    changed = why_not_in(tmp_path, "fit", {"data": "a", "rate": 0.2})
    assert changed == "changed: rate (0.1 → 0.2); fit stays as it is"
    (tmp_path / "fit" / "weights").unlink()
    assert why_not_in(tmp_path, "fit", inputs) == "missing: weights"


def test_a_step_with_other_inputs_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = {"rate": 0.1}, {"rate": 0.2}
    one = finished(find_folder(tmp_path, "fit", first), first)
    other = finished(find_folder(tmp_path, "fit", second), second)
    assert one != other
    assert find_folder(tmp_path, "fit", first) == one
    assert find_folder(tmp_path, "fit", second) == other
    # A step that was begun is continued where it was.
    third = {"rate": 0.3}
    begun = find_folder(tmp_path, "fit", third)
    write_stamp(begun / STARTED, Stamp(step="fit", inputs=third))
    assert find_folder(tmp_path, "fit", third) == begun
    assert why_not_in(tmp_path, "fit", third) == "begun, will be resumed"


def test_a_folder_of_another_format_is_neither_read_nor_written(tmp_path: Path) -> None:
    (tmp_path / "fit").mkdir()
    old = '{"step": "fit", "key": "0", "inputs": {"rate": "0.1"}, "outputs": {}, "said": {}}'
    (tmp_path / "fit" / STAMP).write_text(old, encoding="utf-8")
    assert read_stamp(tmp_path / "fit" / STAMP) is None
    assert find_folder(tmp_path, "fit", {"rate": 0.1}) != tmp_path / "fit"
    said = why_not_in(tmp_path, "fit", {"rate": 0.1})
    assert said == "changed: the format of the stamp; fit stays as it is"


def test_a_field_that_a_later_version_adds_does_not_make_a_fit_undone() -> None:
    fit = recipe("haque2021").fits[256]
    stored = plain({"fit": fit})
    assert differences(stored, {"fit": fit}) == []
    # An earlier version, which did not have this field.
    del stored["fit"]["clip_norm"]
    assert differences(stored, {"fit": fit}) == []
    assert differences(stored, {"fit": dataclasses.replace(fit, clip_norm=1.0)}) == ["fit.clip_norm"]
    stored["fit"]["unknown"] = 1
    assert differences(stored, {"fit": fit}) == ["fit.unknown"]


def test_every_recipe_equals_itself_after_it_was_stored() -> None:
    for name in RECIPES:
        made = recipe(name)
        assert differences(json.loads(json.dumps(plain({"recipe": made}))), {"recipe": made}) == []
        for size in made.fits:
            other = resolve(name, [f"fits.{size}.batch=1"])
            (difference,) = differences(plain(made), other)
            assert difference.startswith(f"fits.{size}.batch")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(StepError, match="another run"), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass


def test_targets_are_nan_where_nothing_is_to_be_learnt() -> None:
    data = dataclasses.replace(DATA, policy=LabelPolicy(uncertain="ignore"))
    listed = manifest([sample(1, labels_F=labels(edema=1, fracture=-1)), sample(2, "2")])
    found_NF = targets(dataclasses.replace(listed, annotated=("Edema", "Fracture")), data)
    assert found_NF[0, INDEX["Edema"]] == 1
    assert np.isnan(found_NF[0, INDEX["Fracture"]])
    assert found_NF[1, INDEX["Edema"]] == 0
    assert np.isnan(found_NF[:, INDEX["Cardiomegaly"]]).all()


def test_one_finding_is_learnt_against_no_finding_by_study() -> None:
    data = dataclasses.replace(
        DATA, finding="Atelectasis", sample_unit=SampleUnit(kind="studies", max_views=1)
    )
    listed = manifest(
        [
            sample(1, "1", labels_F=labels(atelectasis=-1)),
            sample(2, "1", labels_F=labels()),  # the same study: it has what the other image has
            sample(3, "2", labels_F=labels(no_finding=1)),
            sample(4, "3", labels_F=labels(edema=1)),
        ]
    )
    chosen = kept(listed, data)
    assert [each.image_id for each in chosen.samples] == ["1", "3"]
    found_NF = targets(chosen, data)
    assert found_NF[:, INDEX["Atelectasis"]].tolist() == [1, 0]
    assert np.isnan(np.delete(found_NF, INDEX["Atelectasis"], 1)).all()


def test_no_image_left_is_said_with_what_was_asked_for() -> None:
    with pytest.raises(DatasetError, match="frontal"):
        kept(manifest([sample(1)]), dataclasses.replace(DATA, views="frontal"))
    with pytest.raises(DatasetError, match="a positive label"):
        kept(manifest([sample(1)]), dataclasses.replace(DATA, with_a_positive=True))


@pytest.mark.parametrize(("kind", "count"), [("patient-folds", 4), ("random", 1), ("by-row", 1)])
def test_splits_are_as_the_recipe_says(kind: str, count: int) -> None:
    listed = manifest([sample(number, str(number)) for number in range(20)])
    config = SplitConfig(kind=kind, folds=4)  # type: ignore[arg-type]
    (splits,) = make_splits([listed], config)
    assert len(splits) == count
    assert splits[0].unit == ("row" if kind == "by-row" else "patient")


def test_logits_of_a_study_are_its_largest() -> None:
    logits_NFS = np.random.default_rng(0).normal(size=(4, len(NAMES), 2))
    images = PyramidCache(
        levels={},
        labels_NF=np.arange(4 * 14, dtype=np.float32).reshape(4, 14),
        study_N=np.array([1, 0, 1, 2]),
    )
    same, _ = of_units(logits_NFS, images, SampleUnit())
    assert same is logits_NFS
    merged, labels_NF = of_units(logits_NFS, images, SampleUnit(kind="studies"))
    np.testing.assert_allclose(merged[1], np.maximum(logits_NFS[0], logits_NFS[2]))
    assert labels_NF[:, 0].tolist() == [14, 0, 42]


def test_the_stack_is_compared_with_voting_and_each_scale() -> None:
    rng = np.random.default_rng(1)
    labels_NF = (rng.random((50, 14)) < 0.5).astype(np.float32)
    good_NF = 4 * labels_NF - 2
    logits_NFS = np.stack([rng.normal(size=(50, 14)), good_NF], -1)
    labels_NF[0, 0] = np.nan
    said = compared(logits_NFS, labels_NF, np.tile([0.0, 1.0], (14, 1)), (64, 128))
    assert said["best_scale"] == "128"
    losses = said["loss"]
    assert isinstance(losses, dict)
    assert losses["stack"] == losses["128"] < losses["voting"] < losses["64"]
    assert loss_of(np.full((50, 14), 0.5), labels_NF) == pytest.approx(np.log(2))


def test_a_step_out_of_turn_says_which_comes_first(tmp_path: Path) -> None:
    run = Run(recipe=recipe("demo"), out=tmp_path / "out", work=tmp_path)
    with pytest.raises(StepError, match="run `prepare` first"):
        prepared(run)


def test_a_plan_counts_disk_and_memory_and_says_what_is_to_do(tmp_path: Path) -> None:
    made = resolve("demo", ["preprocessing.sizes=64,128", "fits.*.crop_pixels=64"])
    plan = make_plan(Run(recipe=made, out=tmp_path / "out", work=tmp_path))
    assert plan.images == {"training": 1000, "validation": 250, "test": 300}
    assert plan.cache_bytes == 1550 * (64**2 + 128**2 + 14 * 64**2)
    assert [step.step for step in plan.steps[:3]] == [
        "prepare",
        "fit 128, fold 1, seed 0",
        "fit 64, fold 1, seed 0",
    ]
    assert all(step.why for step in plan.steps)
    assert not list(tmp_path.iterdir())


def test_larger_images_need_more_memory() -> None:
    made = recipe("haque2021")
    small, large = need(made, 256), need(made, 512)
    assert large.activation_bytes == pytest.approx(4 * small.activation_bytes, rel=0.05)
    assert small.parameters == large.parameters == 6_968_206 - 64 * 7 * 7


def test_every_recipe_can_be_planned_and_keyed() -> None:
    for name in RECIPES:
        made = recipe(name)
        assert len(key_of({"recipe": made})) == 64
        assert need(made, made.preprocessing.sizes[0]).parameters > 100_000


def test_an_unknown_key_is_an_error_of_the_settings() -> None:
    with pytest.raises(OverrideError):
        resolve("demo", ["nothing.like.this=1"])
