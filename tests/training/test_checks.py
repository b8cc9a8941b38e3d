"""A run refuses to start unless it is what its recipe says, and its bundle says what was changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import densenet121
from typer.testing import CliRunner

from cxrserve.cli.main import app
from cxrserve.findings import NAMES
from tests.training.dataset_trees import labels, write_table
from tests.training.quiet import Quiet
from training.datasets import DatasetError
from training.datasets.published_counts import compare, published_counts
from training.networks.published import WeightsMissing
from training.recipes import DatasetData, Recipe, SplitConfig
from training.recipes.resolve import resolve
from training.steps.label_counts import LabelCounts
from training.steps.networks import new_network, start_of
from training.steps.plan import make_plan, need
from training.steps.run import Run
from training.steps.run_steps import run_command
from training.steps.settings import changed_settings, learning_rates, start_in_words
from training.steps.step import StepError

SMALL = ("preprocessing.sizes=64", "fits.*.epochs=1", "fits.*.batch=2")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights, and no network: a port where nobody listens."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    return tmp_path


def chexpert(root: Path, count: int = 12, positives: int = 4) -> Path:
    """A tree of `count` patients of which the first have Atelectasis; the images are no images."""
    rows = []
    for number in range(count):
        path = f"train/patient{number:05d}/study1/view1_frontal.jpg"
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(b"x")
        labels_F = labels(atelectasis=1.0) if number < positives else labels(no_finding=1.0)
        cells = ",".join("" if np.isnan(label) else f"{label:.1f}" for label in labels_F)
        rows.append(f"CheXpert-v1.0/{path},Female,68,Frontal,PA,{cells}")
    write_table(root / "train.csv", f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(NAMES)}", rows)
    return root


def run_of(tmp_path: Path, recipe: str, *sets: str, positives: int = 4) -> Run:
    return Run(
        recipe=resolve(recipe, (*SMALL, *sets)),
        data=(f"chexpert:{chexpert(tmp_path / 'data', positives=positives)}",),
        out=tmp_path / "out",
        work=tmp_path / "work",
        workers=1,
    )


def test_a_run_without_its_weights_stops_before_anything_is_read(offline: Path) -> None:
    run = run_of(offline, "haque2021")
    with pytest.raises(WeightsMissing, match=r"densenet121-a639ec97\.pth: run `cxrserve train weights`"):
        run_command("prepare", run, Quiet())
    assert not (run.work / "data").exists()
    with pytest.raises(WeightsMissing):
        new_network(run.recipe, 64, 0)
    assert "densenet121" in " ".join(make_plan(run).refusals)


def test_a_file_of_weights_that_is_not_there_is_refused_at_once(offline: Path) -> None:
    run = run_of(offline, "haque2021", "weights=/no/such.pth")
    with pytest.raises(WeightsMissing, match=r"no file of weights at /no/such\.pth"):
        run_command("prepare", run, Quiet())
    assert "/no/such.pth" in " ".join(make_plan(run).refusals)


def test_random_weights_are_for_those_who_ask(offline: Path) -> None:
    run = run_of(offline, "haque2021", "weights=scratch")
    assert start_of(run.recipe) == {"name": "scratch"}
    assert start_in_words(run.recipe, start_of(run.recipe)) == "random weights"
    assert new_network(run.recipe, 64, 0).architecture.startswith("torchvision densenet121")


def test_the_weights_are_known_by_their_hash(offline: Path) -> None:
    path = offline / "weights.pth"
    torch.save(densenet121(weights=None).state_dict(), path)
    recipe = resolve("haque2021", (*SMALL, f"weights={path}"))
    start = start_of(recipe)
    assert start_in_words(recipe, start) == f"file: weights.pth, SHA-256 {start['sha256']}"
    torch.manual_seed(1)
    torch.save(densenet121(weights=None).state_dict(), path)
    assert start_of(recipe) != start


def test_the_command_names_what_is_missing(offline: Path) -> None:
    said = CliRunner().invoke(app, ["train", "weights", "--recipe", "chizari-densenet161"])
    assert said.exit_code == 2
    assert "densenet161-8d451a50.pth" in said.output.replace("\n", "")
    assert CliRunner().invoke(app, ["train", "weights", "--recipe", "demo"]).output.strip() == (
        "demo starts from random weights"
    )


def test_no_class_pair_for_the_best_auc_is_said_before_the_pyramids(offline: Path) -> None:
    run = run_of(offline, "chizari", "weights=scratch", "data.split.kind=random", positives=0)
    with pytest.raises(DatasetError, match=r"no finding has positives and negatives .* of fold 1"):
        run_command("prepare", run, Quiet())
    assert not (run.work / "cache").exists()


def test_too_many_bad_rows_are_all_listed(offline: Path) -> None:
    run = run_of(offline, "haque2021", "weights=scratch")
    root = Path(run.data[0].partition(":")[2])
    for path in sorted(root.rglob("*.jpg"))[:5]:
        path.unlink()
    with pytest.raises(DatasetError, match=r"5 of 12 rows are bad[\s\S]*faults\.csv"):
        run_command("prepare", run, Quiet())
    assert (run.work / "data/1/faults.csv").read_text(encoding="utf-8").count("image file missing") == 5


def test_what_is_not_as_published_is_said_in_words(offline: Path) -> None:
    assert changed_settings(resolve("haque2021")) == ()
    recipe = resolve("haque2021", (*SMALL, "weights=scratch"))
    assert changed_settings(recipe) == (
        "preprocessing.sizes (256,512,1024,2048 → 64)",
        "weights (imagenet → scratch)",
        "fits.64.batch (128 → 2)",
        "fits.64.epochs (100 → 1)",
    )


def test_learning_rates_are_those_of_this_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = resolve("haque2021", ())
    assert learning_rates(recipe)[0].startswith(
        "256 px: learning rate 0.0004 for 128 samples a step on 1 pro"
    )
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert learning_rates(recipe)[0].startswith(
        "256 px: learning rate 0.0016 for 512 samples a step on 4 pro"
    )


def test_a_bundle_of_somebody_else_is_not_overwritten(offline: Path) -> None:
    run = run_of(offline, "haque2021", "weights=scratch")
    run.out.mkdir()
    (run.out / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(StepError, match=r"README\.md was not written by this run"):
        run_command("prepare", run, Quiet())
    assert "README.md" in " ".join(make_plan(run).refusals)
    assert (run.out / "README.md").read_text(encoding="utf-8") == "mine"


def test_counts_that_are_not_the_papers_are_refused_unless_asked_for(tmp_path: Path) -> None:
    """12 studies of which 4 are positive; the paper has 58,710 and 17,265."""
    run = run_of(tmp_path, "chizari", "weights=scratch", "fits.*.best=loss")
    plan = make_plan(run)
    assert plan.counts is not None
    assert (plan.counts.images, plan.counts.studies, plan.counts.patients) == (12, 12, 12)
    (row,) = plan.counts.findings
    assert (row.finding, row.positive, row.negative, row.masked) == ("Atelectasis", 4, 8, 0)
    assert "counted: positive training studies: 4 here, 58,710 in the paper" in plan.notes
    assert any("Give --other-counts" in refusal for refusal in plan.refusals)
    with pytest.raises(DatasetError, match="8 here, 17,265 in the paper"):
        run_command("prepare", replace(run, recipe=recipe_tested_on_all(run)), Quiet())
    allowed = make_plan(replace(run, other_counts=True))
    assert not any("--other-counts" in refusal for refusal in allowed.refusals)


def recipe_tested_on_all(run: Run) -> Recipe:
    """The run's recipe with a split that needs no official test part; the counts are the same."""
    split = SplitConfig(kind="random", validation_share=0.3, test_share=0.3)
    assert isinstance(run.recipe.data, DatasetData)
    return replace(run.recipe, data=replace(run.recipe.data, split=split))


def test_counts_near_the_papers_are_its_own() -> None:
    published = published_counts("haque2023-efficientnet-b4", "mimic-cxr")
    assert published == {"images": 377_110, "studies": 227_827}
    near, far = (compare({"images": count}, published)[0] for count in (377_095, 300_000))
    assert not near.differs
    assert far.differs
    assert not published_counts("haque2021", "chexpert")


def test_other_labels_than_the_papers_have_no_published_counts(tmp_path: Path) -> None:
    """A change made on purpose is named as a setting, and not refused again."""
    run = run_of(tmp_path, "chizari", "data.policy.uncertain=zeros")
    assert not any(note.startswith("counted") for note in make_plan(run).notes)


def test_a_plan_says_how_long_it_takes(tmp_path: Path) -> None:
    made = resolve("demo", ["preprocessing.sizes=64,128", "fits.*.crop_pixels=64"])
    plan = make_plan(Run(recipe=made, out=tmp_path / "out", work=tmp_path))
    assert [line.partition(":")[0] for line in plan.times[:3]] == ["fit 64", "fit 128", "evaluate"]
    assert "for 300 images" in plan.times[2]
    assert plan.counts is None


def test_memory_is_for_the_images_that_studies_have() -> None:
    made = resolve("chizari", ["fits.*.precision=32"])
    counts = LabelCounts(images=120, studies=100, patients=100, unit="studies", findings=())
    most, mean = need(made, 160), need(made, 160, counts)
    assert most.activation_bytes == mean.activation_bytes
    assert most.training_bytes - mean.training_bytes == pytest.approx(
        30 * 1.8 * most.activation_bytes, rel=1e-6
    )
