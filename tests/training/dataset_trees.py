"""Small datasets on disk, in the shapes of the published ones; every name and number in them is made up."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from cxrserve.findings import INDEX, NAMES
from tests.conftest import REALDATA
from training.datasets.manifest import Manifest, new_manifest
from training.datasets.sample import Labels, Part, Sample

# The true headers of the published tables; tests skip where they are absent.
TABLES = REALDATA / "tables"


def labels(**said: float) -> Labels:
    """Labels with NaN for all that is not said; findings in lower case, with _ for blanks."""
    labels_F = np.full(len(NAMES), np.nan, np.float32)
    for name, value in said.items():
        labels_F[INDEX[name.replace("_", " ").title()]] = value
    return labels_F


def sample(
    number: int, patient: str = "1", *, split: Part | None = None, labels_F: Labels | None = None
) -> Sample:
    return Sample(
        path=f"images/{number}.png",
        patient_id=patient,
        study_id=f"{patient}/1",
        image_id=str(number),
        labels_F=labels() if labels_F is None else labels_F,
        split=split,
    )


def manifest(samples: Iterable[Sample]) -> Manifest:
    return new_manifest(source="made-up", root=Path("data"), samples=samples, annotated=NAMES, faults=())


def write_image(path: Path) -> None:
    """A picture of 8 × 6 pixels, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.arange(48, dtype=np.uint8).reshape(8, 6))


def write_table(path: Path, header: str, rows: Sequence[str]) -> Path:
    """A CSV, gzipped if it is called .gz."""
    text = "\n".join((header, *rows)) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


MIMIC_METADATA = "dicom_id,subject_id,study_id,ViewPosition,Rows,Columns,ViewCodeSequence_CodeMeaning"
MIMIC_LABELS = "subject_id,study_id,Pneumonia,Edema,No Finding"
MIMIC_SPLIT = "dicom_id,study_id,subject_id,split"


def mimic_id(number: int) -> str:
    return f"{number:08x}-00000000-00000000-00000000-00000000"


def mimic_path(patient: int, study: int, number: int, extension: str = "jpg") -> str:
    return f"files/p{str(patient)[:2]}/p{patient}/s{study}/{mimic_id(number)}.{extension}"


def mimic_tree(root: Path, *, more: Sequence[str] = (), ending: str = "csv") -> Path:
    """Four images of three studies and two patients; `more` are further rows of the metadata table."""
    metadata = (
        f"{mimic_id(1)},20000001,60000001,PA,3056,2544,postero-anterior",
        f"{mimic_id(2)},20000001,60000001,LATERAL,3056,2544,lateral",
        f"{mimic_id(3)},20000001,60000002,,2544,3056,antero-posterior",
        f"{mimic_id(4)},20000002,60000003,AP AXIAL,2021,,",
        *more,
    )
    splits = [f"{row.split(',')[0]},60000001,20000001,train" for row in metadata[:3]]
    splits.append(f"{mimic_id(4)},60000003,20000002,test")
    write_table(root / f"mimic-cxr-2.0.0-metadata.{ending}", MIMIC_METADATA, metadata)
    write_table(root / f"mimic-cxr-2.0.0-split.{ending}", MIMIC_SPLIT, splits)
    write_table(
        root / f"mimic-cxr-2.0.0-chexpert.{ending}",
        MIMIC_LABELS,
        ["20000001,60000001,,,1.0", "20000001,60000002,1.0,-1.0,", "20000002,60000003,0.0,,"],
    )
    for path in (
        (20000001, 60000001, 1),
        (20000001, 60000001, 2),
        (20000001, 60000002, 3),
        (20000002, 60000003, 4),
    ):
        write_image(root / mimic_path(*path))
    return root


CHEXPERT = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Cardiomegaly"


def chexpert_tree(root: Path, release: str = "CheXpert-v1.0") -> Path:
    train = (
        f"{release}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,0.0",
        f"{release}/train/patient00001/study2/view1_lateral.jpg,Female,69,Lateral,,,-1.0,1.0",
        f"{release}/train/patient00002/study1/view1_frontal.jpg,Unknown,0,Frontal,LL,,,",
    )
    valid = (f"{release}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,PA,0.0,1.0,0.0",)
    write_table(root / "train.csv", CHEXPERT, train)
    write_table(root / "valid.csv", CHEXPERT, valid)
    for row in (*train, *valid):
        write_image(root / row.split(",")[0].removeprefix(f"{release}/"))
    return root


def chexpert_batches(root: Path) -> Path:
    """The four folders that AIMI ships at full size; the same images as `chexpert_tree`, and a test set."""
    tables = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    chexpert_tree(root / "one")
    for name in ("train.csv", "valid.csv"):
        tables.mkdir(parents=True, exist_ok=True)
        (root / "one" / name).rename(tables / name)
    (root / "one" / "valid").rename(tables / "valid")
    for number, patient in ((2, "patient00001"), (3, "patient00002")):
        batch = root / f"CheXpert-v1.0 batch {number} (train {number - 1})"
        batch.mkdir()
        (root / "one" / "train" / patient).rename(batch / patient)
    (root / "one" / "train").rmdir()
    (root / "one").rmdir()
    return root


def chexpert_test(root: Path, prefix: str = "") -> Path:
    """The test set as CheXlocalize publishes it: no columns but the path and the findings."""
    path = "test/patient64741/study1/view1_frontal.jpg"
    write_table(root / "test_labels.csv", "Path,No Finding,Edema", [f"{prefix}{path},0.0,1.0"])
    write_image(root / path)
    return root


def chexpert_plus_tree(root: Path) -> Path:
    """Two images of CheXpert Plus: a table, PNG/ and labels as JSON lines."""
    header = "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,age,sex,split,report"
    rows, labels_of = [], []
    for part, patient, side in (("train", "patient42142", "frontal"), ("valid", "patient64541", "lateral")):
        path = f"{part}/{patient}/study5/view1_{side}.jpg"
        rows.append(f'{path},{path},{side.title()},PA,{patient},61.0,Male,{part},"Two lines,\nof a report"')
        labels_of.append({"path_to_image": path, "Edema": 1.0 if part == "train" else -1.0, "Fracture": None})
        write_image(root / "PNG" / path.replace(".jpg", ".png"))
    write_table(root / "df_chexpert_plus_240401.csv", header, rows)
    lines = "".join(json.dumps(entry) + "\n" for entry in labels_of)
    (root / "chexbert_labels").mkdir()
    (root / "chexbert_labels" / "impression_fixed.json").write_text(lines, encoding="utf-8")
    return root


NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def nih_row(name: str, findings: str, patient: int, age: str = "057Y") -> str:
    return f"{name},{findings},0,{patient},{age},M,PA,2682,2749,0.143,0.143,"


def nih_tree(root: Path, rows: Sequence[str]) -> Path:
    """The pictures lie in two folders by turns, as the archives unpack."""
    write_table(root / "Data_Entry_2017.csv", NIH, rows)
    for number, row in enumerate(rows):
        write_image(root / f"images_{number % 2 + 1:03d}" / "images" / row.split(",")[0])
    return root
