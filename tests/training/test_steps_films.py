"""Films on the disk through every step: CheXpert trees of phantoms, one with a file that is no image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrserve.bundle.contract import load_bundle
from cxrserve.cli.main import app
from cxrserve.findings import NAMES
from tests.training.dataset_trees import write_table
from tests.training.quiet import Quiet
from training.datasets.faults import DatasetError
from training.datasets.patients import read_patients
from training.phantom import make_phantom, write_jpeg
from training.recipes.resolve import resolve
from training.steps.run import Run
from training.steps.run_steps import COMMANDS, run_command

FILMS, DAMAGED = 22, 4
SETS = (
    "preprocessing.sizes=64,128",
    "head=linear",
    "architecture=small",
    "weights=scratch",
    "seeds=0,1",
    "data.split.kind=patient-folds",
    "data.split.folds=2",
    "data.split.validation_share=0.3",
    "data.sample_unit.kind=images",
    "fits.*.epochs=1",
    "fits.*.frozen_epochs=0",
    "fits.*.batch=4",
    "fits.*.best=last",
)

pytestmark = pytest.mark.timeout(600)


def write_tree(root: Path, first: int, damaged: int | None = None) -> Path:
    """`FILMS` phantoms as CheXpert lies on a disk; the film `damaged` is no picture."""
    rows = []
    for number in range(FILMS):
        phantom = make_phantom(first + number)
        path = f"train/patient{first + number:05d}/study1/view1_frontal.jpg"
        (root / path).parent.mkdir(parents=True)
        if number == damaged:
            (root / path).write_bytes(b"\xff\xd8\xff\xe0 no picture")
        else:
            write_jpeg(root / path, phantom)
        said = ["1.0" if label else "" for label in phantom.labels_F]
        said[NAMES.index("Atelectasis")] = "-1.0" if number % 3 == 0 else ""
        said[NAMES.index("No Finding")] = "" if number % 3 == 0 else "1.0"
        rows.append(f"CheXpert-v1.0/{path},Female,68,Frontal,PA,{','.join(said)}")
    write_table(root / "train.csv", f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(NAMES)}", rows)
    return root


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two datasets; one film of the first cannot be read."""
    folder = tmp_path_factory.mktemp("chexpert")
    return write_tree(folder / "one", 50_000, DAMAGED), write_tree(folder / "other", 60_000)


def test_two_datasets_end_in_a_bundle_and_bad_films_in_a_list(
    trees: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Run(
        recipe=resolve("chizari", SETS),
        data=tuple(f"chexpert:{tree}" for tree in trees),
        out=tmp_path / "bundle",
        work=tmp_path / "work",
        workers=1,
        folds=1,
        report="brief",
    )
    progress = Quiet()
    for name in COMMANDS:
        run_command(name, run, progress)
    contract = load_bundle(run.out).contract
    # One finding was taught: nothing is said of the others.
    assert contract.unavailable == tuple(name for name in NAMES if name != "Atelectasis")
    assert contract.members[0].findings == ("Atelectasis",)
    assert set(contract.operating_points) == {"Atelectasis"}
    assert contract.lineage.part == "fold 1 of 2, seed 0, one of 2"
    faults = (run.work / "data" / "1" / "faults.csv").read_text(encoding="utf-8")
    assert faults.count("image cannot be decoded") == 1
    assert f"patient{50_000 + DAMAGED}" in faults
    assert f"1 of {FILMS} rows" in progress.text
    assert (run.work / "data" / "2" / "manifest.json").exists()
    report = json.loads((run.out / "report.json").read_text(encoding="utf-8"))
    assert set(report["stack_fits"]) == {"fold_1/seed_0", "fold_1/seed_1"}
    assert report["lineage"]["id"] == contract.lineage.id
    assert (run.out / "report.html").exists()


def test_one_size_is_a_bundle_too_and_every_fold_is_measured(
    trees: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Run(
        recipe=resolve("chizari", (*SETS, "preprocessing.sizes=64", "seeds=0")),
        data=(f"chexpert:{trees[1]}",),
        out=tmp_path / "bundle",
        work=tmp_path / "work",
        workers=1,
        report="brief",
        each_fold=True,
    )
    run.out.mkdir()
    (run.out / "mine.onnx").write_text("of somebody else", encoding="utf-8")
    for name in COMMANDS:
        run_command(name, run, Quiet())
    # What others have in the folder stays.
    assert (run.out / "mine.onnx").read_text(encoding="utf-8") == "of somebody else"
    contract = load_bundle(run.out).contract
    assert contract.stack[NAMES.index("Atelectasis")] == (1.0,)
    assert contract.triage is None
    report = json.loads((run.out / "report.json").read_text(encoding="utf-8"))
    assert set(report["stack_fits"]) == {"fold_1/seed_0", "fold_2/seed_0"}
    # Every test image of both folds, each once.
    assert report["count"] == FILMS
    assert len(report["fold_auc"]) == 2
    assert contract.metrics is not None
    assert contract.metrics.folds is not None
    assert contract.metrics.folds.count == 2
    assert sum(group["images"] for group in report["groups"] if group["by"] == "view") == FILMS
    assert report["fits"][0]["fits"] == 2
    assert "8-bit JPEG, equalised before it was published; taken as it is" in contract.lineage.data
    patients = read_patients(run.out)
    assert patients is not None
    assert len(patients.learnt_from | patients.parts["test"]) == FILMS
    assert "weights (imagenet → scratch)" in contract.lineage.settings
    assert "fits.64.epochs (6 → 1)" in contract.lineage.settings
    assert contract.lineage.weights == "random weights"
    assert "`fits.64.epochs (6 → 1)`" in (run.out / "README.md").read_text(encoding="utf-8")
    page = (run.out / "report.html").read_text(encoding="utf-8")
    assert "fits.64.epochs (6 → 1)" in page
    assert "The networks started from random weights" in page
    other = tmp_path / "bundle-fold-2"
    assert load_bundle(other).contract.lineage.part == "fold 2 of 2"
    assert (other / "README.md").exists()
    # Each fold on the patients it did not learn from, which are all patients once.
    options = ("--folds", "--data", run.data[0], "--out", str(tmp_path / "all"), "--uncertain", "ones")
    bundles = ("evaluate", str(run.out), str(other))
    evaluated = CliRunner().invoke(app, [*bundles, *options, "--cams", "", "--field-images", "0"])
    assert evaluated.exit_code == 0, evaluated.output
    together = json.loads((tmp_path / "all" / "report.json").read_text(encoding="utf-8"))
    assert (together["count"], len(together["fold_auc"])) == (FILMS, 2)
    own = together["fold_auc"][1]["Atelectasis"]["64"]
    measured = load_bundle(other).contract.metrics
    assert measured is not None
    assert own == pytest.approx(measured.auc["Atelectasis"]["64"], abs=0.05)
    twice = CliRunner().invoke(app, ["evaluate", str(run.out), str(run.out), *options])
    assert twice.exit_code == 2
    # Another setting, another recipe's or a killed one: the finished networks stay.
    fits = sorted(run.work.glob("fold_*/seed_0/fit_64/weights.safetensors"))
    before = [path.read_bytes() for path in fits]
    assert len(fits) == 2
    sets = (*SETS, "preprocessing.sizes=64", "seeds=0", "fits.*.epochs=2")
    run_command("fit", replace(run, recipe=resolve("chizari", sets)), Quiet())
    assert [path.read_bytes() for path in fits] == before
    assert len(list(run.work.glob("fold_*/seed_0/fit_64-*/weights.safetensors"))) == 2
    progress = Quiet()
    for name in COMMANDS:
        run_command(name, run, progress)
    assert "epochs, kept" not in progress.text


def test_too_many_bad_films_stop_the_run(trees: tuple[Path, Path], tmp_path: Path) -> None:
    from training.datasets import ReadOptions

    run = Run(
        recipe=resolve("chizari", SETS),
        data=(f"chexpert:{trees[0]}",),
        out=tmp_path / "bundle",
        work=tmp_path / "work",
        options=ReadOptions(max_bad_share=0.01),
    )
    with pytest.raises(DatasetError, match=f"1 of {FILMS} rows are bad"):
        run_command("prepare", run, Quiet())
