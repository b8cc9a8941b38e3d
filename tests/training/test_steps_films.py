"""Films on the disk through every step: CheXpert trees of phantoms, one with a file that is no image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrserve.ensemble.bundle import load_bundle
from cxrserve.findings import NAMES
from tests.training.dataset_trees import write_table
from tests.training.quiet import Quiet
from training.datasets.faults import DatasetError
from training.phantom import make_phantom, write_jpeg
from training.resolve import resolve
from training.steps.run import Run
from training.steps.whole import STEPS, do

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
    "data.unit.kind=images",
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
    for name in STEPS:
        do(name, run, progress)
    contract = load_bundle(run.out).contract
    # One finding was taught: nothing is said of the others.
    assert contract.unavailable == tuple(name for name in NAMES if name != "Atelectasis")
    assert contract.members[0].findings == ("Atelectasis",)
    assert set(contract.operating_points) == {"Atelectasis"}
    assert contract.lineage.part == "fold 1 of 2, seed 0, one of 2"
    faults = (run.work / "data" / "1" / "faults.csv").read_text(encoding="utf-8")
    assert faults.count("image cannot be decoded") == 1
    assert f"patient{50_000 + DAMAGED}" in faults
    assert f"1 of {FILMS} rows" in progress.said
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
    )
    for name in STEPS:
        do(name, run, Quiet())
    contract = load_bundle(run.out).contract
    assert contract.stack[NAMES.index("Atelectasis")] == (1.0,)
    assert contract.triage is None
    report = json.loads((run.out / "report.json").read_text(encoding="utf-8"))
    assert set(report["stack_fits"]) == {"fold_1/seed_0", "fold_2/seed_0"}


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
        do("prepare", run, Quiet())
