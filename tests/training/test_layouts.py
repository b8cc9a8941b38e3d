"""Every dataset in its published layout through the whole command, to a bundle that answers.

In between it is looked into the cache: every patient is in one part, and the images are those of the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from cxrserve.bundle.contract import load_bundle
from cxrserve.cli.main import app
from cxrserve.findings import NAMES
from tests.training.dataset_trees import (
    CHEXPERT,
    MIMIC_LABELS,
    MIMIC_METADATA,
    MIMIC_SPLIT,
    NIH,
    mimic_id,
    mimic_path,
    nih_row,
    write_table,
)
from training.phantom import make_phantom, write_dicom
from training.recipes.resolve import resolve
from training.steps.prepare import open_part
from training.steps.run import Run

PATIENTS, FOLDS, SIZE = 6, 3, 64
SETS = (
    f"preprocessing.sizes={SIZE}",
    "architecture=small",
    "weights=scratch",
    "fits.*.epochs=1",
    "fits.*.batch=3",
    f"data.split.folds={FOLDS}",
    "data.split.validation_share=0.3",
)


def picture(path: Path, number: int) -> None:
    """An image of 96 × 80 pixels whose mean tells its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hills_HW = np.outer(np.sin(np.linspace(0, 4 * np.pi, 96)), np.sin(np.linspace(0, 6 * np.pi, 80)))
    grain_HW = np.random.default_rng(number).normal(0, 1, hills_HW.shape)
    assert cv2.imwrite(str(path), np.round(30 * (number + 1) + 15 * hills_HW + grain_HW).astype(np.uint8))


def mimic_jpg(root: Path) -> None:
    mimic(root, "jpg", picture)


def mimic_dicom(root: Path) -> None:
    def write(path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dicom(path, make_phantom(number))

    mimic(root, "dcm", write)


def mimic(root: Path, extension: str, write: Callable[[Path, int], None]) -> None:
    ids = [(20000000 + number, 60000000 + number, number) for number in range(PATIENTS)]
    for patient, study, number in ids:
        write(root / mimic_path(patient, study, number, extension), number)
    metadata = [f"{mimic_id(number)},{patient},{study},PA,96,80," for patient, study, number in ids]
    labels = [f"{patient},{study},1.0,,0.0" for patient, study, _ in ids]
    parts = [f"{mimic_id(number)},{study},{patient},train" for patient, study, number in ids]
    write_table(root / "mimic-cxr-2.0.0-metadata.csv.gz", MIMIC_METADATA, metadata)
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", MIMIC_LABELS, labels)
    write_table(root / "mimic-cxr-2.0.0-split.csv.gz", MIMIC_SPLIT, parts)


def chexpert_small(root: Path) -> None:
    paths = [f"train/patient{number:05d}/study1/view1_frontal.jpg" for number in range(PATIENTS)]
    for number, path in enumerate(paths):
        picture(root / path, number)
    rows = [f"CheXpert-v1.0-small/{path},Male,50,Frontal,PA,1.0,,0.0" for path in paths]
    write_table(root / "train.csv", CHEXPERT, rows)


def chexpert_batches(root: Path) -> None:
    chexpert_small(root)
    tables = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    tables.mkdir()
    table = (root / "train.csv").read_text().replace("v1.0-small", "v1.0")
    (tables / "train.csv").write_text(table)
    (root / "train.csv").unlink()
    (root / "train").rename(root / "CheXpert-v1.0 batch 2 (train 1)")


def chexlocalize(root: Path) -> None:
    for number in range(PATIENTS):
        picture(root / f"CheXpert/test/patient{64741 + number}/study1/view1_frontal.jpg", number)
    rows = [f"test/patient{64741 + number}/study1/view1_frontal.jpg,0.0,1.0" for number in range(PATIENTS)]
    write_table(root / "CheXpert" / "test_labels.csv", "Path,No Finding,Edema", rows)


def chexpert_plus(root: Path) -> None:
    paths = [f"train/patient{number:05d}/study1/view1_frontal.jpg" for number in range(PATIENTS)]
    for number, path in enumerate(paths):
        picture(root / "PNG" / path.replace(".jpg", ".png"), number)
    rows = [f"{path},Frontal,PA,Male,50,train" for path in paths]
    write_table(
        root / "df_chexpert_plus_240401.csv", "path_to_image,frontal_lateral,ap_pa,sex,age,split", rows
    )
    (root / "chexbert_labels").mkdir()
    lines = [json.dumps({"path_to_image": path, **dict.fromkeys(NAMES, 1.0)}) for path in paths]
    (root / "chexbert_labels" / "impression_fixed.json").write_text("\n".join(lines) + "\n")


def nih(root: Path) -> None:
    rows = [nih_row(f"0000000{number}_000.png", "Edema", number + 1) for number in range(PATIENTS)]
    for number, row in enumerate(rows):
        picture(root / f"images_{number + 1:03d}" / "images" / row.split(",")[0], number)
    write_table(root / "Data_Entry_2017_v2020.csv", NIH, rows)


def folder(root: Path) -> None:
    for number in range(PATIENTS):
        picture(root / f"{number}.png", number)
    write_table(root / "ours.csv", "path,patient,Edema", [f"{n}.png,P-{n},1" for n in range(PATIENTS)])


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("mimic-cxr-jpg", mimic_jpg),
        ("mimic-cxr", mimic_dicom),
        ("chexpert", chexpert_small),
        ("chexpert", chexpert_batches),
        ("chexpert", chexlocalize),
        ("chexpert-plus", chexpert_plus),
        ("nih", nih),
        ("folder", folder),
    ],
)
@pytest.mark.timeout(1800)
def test_a_published_layout_ends_in_a_bundle_that_answers(
    kind: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write(data)
    said = train(kind, data, tmp_path)
    assert "left out" not in said
    assert "images/s with 1 processes" in said
    check_parts(kind, data, tmp_path)
    contract = load_bundle(tmp_path / "bundle").contract
    assert {member.size for member in contract.members} == {SIZE}
    report = json.loads((tmp_path / "bundle" / "report.json").read_text(encoding="utf-8"))
    assert report["count"] == PATIENTS // FOLDS
    file = next(path for path in sorted(data.rglob("*")) if path.suffix in (".jpg", ".png", ".dcm"))
    options = ("--format", "json", "--findings", "all", "--bundle", str(tmp_path / "bundle"))
    answered = CliRunner().invoke(app, ["predict", str(file), *options])
    assert answered.exit_code == 0, answered.output
    [answer] = json.loads(answered.stdout)
    known = {
        finding["finding"]: finding["probability"]
        for finding in answer["findings"]
        if finding["probability"] is not None
    }
    assert set(known) == set(NAMES) - set(contract.unavailable)
    assert 0 <= known["Edema"] <= 1


def train(kind: str, data: Path, folder: Path) -> str:
    """The whole command: six images, one epoch of the first of three folds; returns its words."""
    places = ("--data", f"{kind}:{data}", "--work", str(folder / "work"), "--out", str(folder / "bundle"))
    sets = [word for assignment in SETS for word in ("--set", assignment)]
    options = ("--folds", "1", "--workers", "1", "--report", "brief", "--no-variants", "--other-counts")
    done = CliRunner().invoke(app, ["train", "--recipe", "haque2021", *places, *sets, *options])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())  # long lines are folded


def check_parts(kind: str, data: Path, folder: Path) -> None:
    """Each fold has all images, each patient is tested once, and what the cache shows is what was written."""
    run = Run(
        recipe=resolve("haque2021", SETS),
        data=(f"{kind}:{data}",),
        out=folder / "bundle",
        work=folder / "work",
        other_counts=True,
    )
    tested: list[str] = []
    for fold in range(1, FOLDS + 1):
        parts = [open_part(run, fold, part) for part in ("train", "validate", "test")]
        assert sum(map(len, parts)) == PATIENTS
        assert all(len(part) for part in parts)
        tested += [record.patient_id for record in parts[2].records]
        if kind != "mimic-cxr":
            shown = sorted(
                int(part.level(SIZE)[row].mean().round()) for part in parts for row in range(len(part))
            )
            np.testing.assert_allclose(shown, [30 * (number + 1) for number in range(PATIENTS)], atol=2)
    assert len(set(tested)) == PATIENTS
