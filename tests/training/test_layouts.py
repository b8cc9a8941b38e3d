"""Every dataset in its published layout through `prepare`: tables, split by patient, images in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

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
from tests.training.quiet import Quiet
from training.phantom import make_phantom, write_dicom
from training.recipes.resolve import resolve
from training.steps.prepare import open_part
from training.steps.run import Run
from training.steps.run_steps import run_command

PATIENTS = 6
SETS = ("preprocessing.sizes=64", "weights=scratch", "data.split.folds=3", "data.split.validation_share=0.3")


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
@pytest.mark.timeout(600)
def test_a_published_layout_is_prepared(kind: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write(data)
    run = Run(
        recipe=resolve("haque2021", SETS),
        data=(f"{kind}:{data}",),
        out=tmp_path / "bundle",
        work=tmp_path / "work",
        workers=1,
        other_counts=True,
    )
    progress = Quiet()
    run_command("prepare", run, progress)
    tested: list[str] = []
    for fold in (1, 2, 3):
        parts = [open_part(run, fold, part) for part in ("train", "validate", "test")]
        assert sum(map(len, parts)) == PATIENTS
        assert all(len(part) for part in parts)
        tested += [record.patient_id for record in parts[2].records]
        if kind != "mimic-cxr":
            shown = sorted(
                int(part.level(64)[row].mean().round()) for part in parts for row in range(len(part))
            )
            np.testing.assert_allclose(shown, [30 * (number + 1) for number in range(PATIENTS)], atol=2)
    assert len(set(tested)) == PATIENTS
    assert "left out" not in progress.text
    assert "images/s with 1 processes" in progress.text
