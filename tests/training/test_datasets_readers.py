"""The dataset readers, on small trees laid out like the published ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cxrserve.findings import NAMES
from tests.training.dataset_trees import (
    chexpert_tree,
    labels,
    mimic_id,
    mimic_path,
    mimic_tree,
    nih_row,
    nih_tree,
    write_image,
    write_table,
)
from training.datasets import ReadOptions, read_dataset
from training.datasets.faults import DatasetError
from training.datasets.sample import Labels
from training.phantom import make_phantom, write_phantoms

LENIENT = ReadOptions(max_bad_share=1)


def _reasons(spec: str) -> list[tuple[str, str]]:
    return [(fault.where, fault.reason) for fault in read_dataset(spec, LENIENT).faults]


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_mimic(tmp_path: Path, ending: str) -> None:
    manifest = read_dataset(f"mimic-cxr-jpg:{mimic_tree(tmp_path, ending=ending)}")
    assert not manifest.faults
    assert all(manifest.file(sample).is_file() for sample in manifest.samples)
    assert [sample.view for sample in manifest.samples] == ["PA", "lateral", "AP", "frontal"]
    assert [sample.split for sample in manifest.samples] == ["train", "train", "train", "test"]
    assert [sample.columns for sample in manifest.samples] == [2544, 2544, 3056, None]
    np.testing.assert_array_equal(manifest.samples[0].labels_F, labels(no_finding=1))
    np.testing.assert_array_equal(manifest.samples[2].labels_F, labels(pneumonia=1, edema=-1))
    assert manifest.annotated == ("Edema", "No Finding", "Pneumonia")


def test_mimic_dicom_takes_the_tables_from_elsewhere(tmp_path: Path) -> None:
    tables = mimic_tree(tmp_path / "jpg")
    dicom = tmp_path / "dicom" / mimic_path(20000001, 60000001, 1, "dcm")
    dicom.parent.mkdir(parents=True)
    dicom.write_bytes(b"DICM")
    manifest = read_dataset(f"mimic-cxr:{tmp_path / 'dicom'}", ReadOptions(tables=tables, max_bad_share=1))
    assert [manifest.file(sample) for sample in manifest.samples] == [dicom]
    assert {fault.reason for fault in manifest.faults} == {"image file missing"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{mimic_id(9)},20000001,60000001,PA,1,1,", "image file missing"),
        (f"{mimic_id(9)},20000001,69999999,PA,1,1,", "study missing from the label table"),
        (f"{mimic_id(9)},20000002,60000001,PA,1,1,", "malformed row"),
        (f"{mimic_id(9)},20000001,60000001,PA", "malformed row"),
        (f"{mimic_id(9)},../../etc,60000001,PA,1,1,", "malformed row"),
        ("../../../../../etc/passwd,20000001,60000001,PA,1,1,", "malformed row"),
    ],
)
def test_mimic_bad_row(tmp_path: Path, row: str, reason: str) -> None:
    spec = f"mimic-cxr-jpg:{mimic_tree(tmp_path, more=[row])}"
    assert _reasons(spec) == [("mimic-cxr-2.0.0-metadata.csv:6", reason)]
    assert len(read_dataset(spec, LENIENT)) == 4


def test_mimic_image_listed_twice(tmp_path: Path) -> None:
    again = f"{mimic_id(1)},20000001,60000001,PA,3056,2544,"
    spec = f"mimic-cxr-jpg:{mimic_tree(tmp_path, more=[again])}"
    assert _reasons(spec) == [(mimic_path(20000001, 60000001, 1), "image listed twice")]


def test_mimic_unknown_label_and_part(tmp_path: Path) -> None:
    mimic_tree(tmp_path)
    table = tmp_path / "mimic-cxr-2.0.0-chexpert.csv"
    table.write_text(table.read_text().replace("0.0,,", "2.0,,"))
    parts = tmp_path / "mimic-cxr-2.0.0-split.csv"
    parts.write_text(parts.read_text().replace("test", "tset"))
    assert _reasons(f"mimic-cxr-jpg:{tmp_path}") == [
        ("mimic-cxr-2.0.0-split.csv:5", "malformed row"),
        ("mimic-cxr-2.0.0-chexpert.csv:4", "unknown label value"),
        ("mimic-cxr-2.0.0-metadata.csv:5", "study missing from the label table"),
    ]


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("study_id,Airspace Opacity,Edema", "60000003,1.0,", labels(lung_opacity=1, no_finding=0)),
        ("study_id,Airspace Opacity,Edema", "60000003,,-1.0", labels(edema=-1, no_finding=0)),
        (
            "study_id,Support Devices,Edema",
            "60000003,1.0,0.0",
            labels(support_devices=1, edema=0, no_finding=1),
        ),
        ("study_id,No Finding,Edema", "60000003,,1.0", labels(edema=1)),
    ],
)
def test_mimic_radiologist_labels(tmp_path: Path, header: str, row: str, expected: Labels) -> None:
    mimic_tree(tmp_path)
    of_training = "60000002," + row.partition(",")[2]
    write_table(tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv", header, [row, of_training])
    manifest = read_dataset(f"mimic-cxr-jpg:{tmp_path}", ReadOptions(radiologist_test_labels=True))
    np.testing.assert_array_equal(manifest.samples[3].labels_F, expected)
    np.testing.assert_array_equal(manifest.samples[2].labels_F, labels(pneumonia=1, edema=-1))


@pytest.mark.parametrize(
    ("release", "source"), [("CheXpert-v1.0", "chexpert"), ("CheXpert-v1.0-small", "chexpert-small")]
)
def test_chexpert(tmp_path: Path, release: str, source: str) -> None:
    manifest = read_dataset(f"chexpert:{chexpert_tree(tmp_path, release)}")
    assert manifest.source == source
    assert [sample.view for sample in manifest.samples] == ["AP", "lateral", "frontal", "PA"]
    assert [sample.sex for sample in manifest.samples] == ["F", "F", "unknown", "M"]
    assert [sample.age for sample in manifest.samples] == [68, 69, 0, 73]
    assert [sample.split for sample in manifest.samples] == ["train", "train", "train", "test"]
    assert manifest.samples[1].study_id == "patient00001/study2"
    np.testing.assert_array_equal(manifest.samples[1].labels_F, labels(edema=-1, cardiomegaly=1))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("CheXpert-v1.0/train/patient00001/study9/view1_frontal.jpg", "image file missing"),
        ("CheXpert-v1.0/train/../../../etc/passwd", "path outside the dataset"),
        ("/etc/passwd", "path outside the dataset"),
        ("CheXpert-v1.0/train/somebody/study1/view1_frontal.jpg", "malformed row"),
    ],
)
def test_chexpert_bad_row(tmp_path: Path, path: str, reason: str) -> None:
    chexpert_tree(tmp_path)
    with (tmp_path / "train.csv").open("a") as stream:
        stream.write(f"{path},Female,68,Frontal,AP,1.0,,0.0\n")
    assert _reasons(f"chexpert:{tmp_path}") == [("train.csv:5", reason)]


def test_nih(tmp_path: Path) -> None:
    rows = (
        nih_row("00000001_000.png", "Cardiomegaly|Effusion", 1),
        nih_row("00000001_001.png", "Mass|Infiltration", 1, age="411Y"),
        nih_row("00000002_000.png", "Pleural_Thickening|Pneumonia", 2, age="006M"),
        nih_row("00000003_000.png", "No Finding", 3, age="81"),
    )
    nih_tree(tmp_path, rows)
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n00000002_000.png\n")
    (tmp_path / "test_list.txt").write_text("00000003_000.png\r\n")
    manifest = read_dataset(f"nih:{tmp_path}")
    absent = {"Enlarged Cardiomediastinum", "Fracture", "Support Devices"}
    assert absent.isdisjoint(manifest.annotated)
    assert len(manifest.annotated) == 11
    by_id = {sample.image_id: sample for sample in manifest.samples}
    assert [by_id[row.split(",")[0]].age for row in rows] == [57, None, 0.5, 81]
    assert [by_id[row.split(",")[0]].split for row in rows] == ["train", "train", "train", "test"]
    nothing = dict.fromkeys((name.lower().replace(" ", "_") for name in manifest.annotated), 0.0)
    for row, said in zip(
        rows,
        (
            {"cardiomegaly": 1, "pleural_effusion": 1},
            {"lung_lesion": 1, "lung_opacity": 1},
            # Pneumonia is a kind of Lung Opacity: NIH does not say whether that is there.
            {"pleural_other": 1, "pneumonia": 1, "lung_opacity": -1},
            {"no_finding": 1},
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(by_id[row.split(",")[0]].labels_F, labels(**{**nothing, **said}))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (nih_row("00000009_000.png", "Edema", 9), "image file missing"),
        (nih_row("../00000001_000.png", "Edema", 9), "malformed row"),
        (nih_row("00000001_000.png", "Oedema", 1), "unknown label value"),
    ],
)
def test_nih_bad_row(tmp_path: Path, row: str, reason: str) -> None:
    nih_tree(tmp_path, [nih_row("00000001_000.png", "Edema", 1)])
    with (tmp_path / "Data_Entry_2017.csv").open("a") as stream:
        stream.write(row + "\n")
    assert _reasons(f"nih:{tmp_path}") == [("Data_Entry_2017.csv:3", reason)]


def _films(root: Path, header: str, rows: Sequence[str], kind: str = "folder") -> str:
    write_image(root / "a" / "1.jpg")
    write_image(root / "a" / "2.png")
    write_table(root / "films.csv", header, rows)
    return f"{kind}:{root}"


@pytest.mark.parametrize("kind", ["folder", "phantoms"])
def test_folder(tmp_path: Path, kind: str) -> None:
    header = "Patient,PATH,study,view,sex,age,split,pleural_effusion,Edema"
    rows = ["Ä 7,a/1.jpg,3,PA,f,40,val,1,", "8,a\\2.png,,lateral,M,,test,-1,0"]
    manifest = read_dataset(_films(tmp_path, header, rows, kind))
    first, second = manifest.samples
    assert manifest.source == kind
    assert manifest.annotated == ("Edema", "Pleural Effusion")
    assert (first.patient_id, first.study_id, first.split, first.sex) == ("Ä 7", "Ä 7/3", "validate", "F")
    assert (second.path, second.study_id, second.age, second.view) == (
        "a/2.png",
        "8/a/2.png",
        None,
        "lateral",
    )
    np.testing.assert_array_equal(first.labels_F, labels(pleural_effusion=1))
    np.testing.assert_array_equal(second.labels_F, labels(pleural_effusion=-1, edema=0))


def test_phantoms(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 2, seed=5)
    manifest = read_dataset(f"phantoms:{tmp_path}")
    drawn = [make_phantom(5), make_phantom(6)]
    assert not manifest.faults
    assert manifest.annotated == NAMES
    assert [sample.view for sample in manifest.samples] == [phantom.view for phantom in drawn]
    np.testing.assert_array_equal(manifest.labels_NF(), [phantom.labels_F for phantom in drawn])
    assert len({sample.patient_id for sample in manifest.samples}) == 2


def test_folder_read_through_its_csv(tmp_path: Path) -> None:
    _films(tmp_path, "path,patient,Edema", ["a/1.jpg,7,1"])
    write_table(tmp_path / "other.csv", "path", [])
    manifest = read_dataset(f"folder:{tmp_path / 'films.csv'}")
    assert manifest.root == tmp_path


def test_folder_says_which_columns_mean_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_dataset(_films(tmp_path, "path,patient,Edema,Pneumothoraxx", ["a/1.jpg,7,1,1"]))
    assert "Pneumothoraxx" in caplog.text


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("../../etc/passwd,7,,1", "path outside the dataset"),
        ("..\\secret.jpg,7,,1", "path outside the dataset"),
        ("/etc/passwd,7,,1", "path outside the dataset"),
        ("C:\\films\\1.jpg,7,,1", "path outside the dataset"),
        ("~/1.jpg,7,,1", "path outside the dataset"),
        (",7,,1", "malformed row"),
        ("a/\0.jpg,7,,1", "malformed row"),
        ("a/9.jpg,7,,1", "image file missing"),
        ("a,7,,1", "image file missing"),
        ("a/2.png,,,1", "malformed row"),
        ("a/2.png,7\t8,,1", "malformed row"),
        ("a/2.png,7,,maybe", "unknown label value"),
        ("a/2.png,7,tain,1", "malformed row"),
        ("a/2.png,7", "malformed row"),
    ],
)
def test_folder_bad_row(tmp_path: Path, row: str, reason: str) -> None:
    spec = _films(tmp_path, "path,patient,split,Edema", ["a/1.jpg,7,,1", row])
    assert _reasons(spec) == [("films.csv:3", reason)]


def test_mimic_ids_that_pandas_wrote_as_floats(tmp_path: Path) -> None:
    plain = read_dataset(f"mimic-cxr-jpg:{mimic_tree(tmp_path)}")
    for table in tmp_path.glob("*.csv"):
        table.write_text(re.sub(r"\b([26]000000\d)\b", r"\1.0", table.read_text()))
    manifest = read_dataset(f"mimic-cxr-jpg:{tmp_path}")
    assert "20000001.0" in (tmp_path / "mimic-cxr-2.0.0-chexpert.csv").read_text()
    assert not manifest.faults
    assert manifest.sha256 == plain.sha256


def test_mimic_study_listed_twice(tmp_path: Path) -> None:
    mimic_tree(tmp_path)
    with (tmp_path / "mimic-cxr-2.0.0-chexpert.csv").open("a") as stream:
        stream.write("20000001,60000001,,,1.0\n20000001,60000002,0.0,,\n")
    spec = f"mimic-cxr-jpg:{tmp_path}"
    # The same labels again are no fault; of other labels the first row stays.
    assert _reasons(spec) == [("mimic-cxr-2.0.0-chexpert.csv:6", "study listed twice with other labels")]
    np.testing.assert_array_equal(
        read_dataset(spec, LENIENT).samples[2].labels_F, labels(pneumonia=1, edema=-1)
    )


def test_mimic_radiologist_table_of_no_test_study_is_refused(tmp_path: Path) -> None:
    mimic_tree(tmp_path)
    write_table(tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv", "study_id,Edema", ["60000002,1.0"])
    with pytest.raises(DatasetError, match="none of its studies is an official test study"):
        read_dataset(f"mimic-cxr-jpg:{tmp_path}", ReadOptions(radiologist_test_labels=True))


def test_nih_patients_need_no_number(tmp_path: Path) -> None:
    row = nih_row("00000001_000.png", "Edema", 1).replace(",0,1,", ",0,P-1,")
    (sample,) = read_dataset(f"nih:{nih_tree(tmp_path, [row])}").samples
    assert sample.patient_id == "P-1"
