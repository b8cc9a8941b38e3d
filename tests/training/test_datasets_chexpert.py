"""CheXpert in each layout in which Stanford ships it: batches, test set, other labels, CheXlocalize, Plus."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.training.dataset_trees import (
    CHEXPERT,
    chexpert_batches,
    chexpert_plus_tree,
    chexpert_test,
    chexpert_tree,
    labels,
    write_table,
)
from training.datasets import ReadOptions, read_dataset
from training.datasets.faults import DatasetError
from training.datasets.make_splits import official_split
from training.datasets.patients import patient_hash


def test_four_batches_hold_what_one_folder_holds(tmp_path: Path) -> None:
    one = read_dataset(f"chexpert:{chexpert_tree(tmp_path / 'one')}")
    batches = read_dataset(f"chexpert:{chexpert_batches(tmp_path / 'batches')}")
    assert not batches.faults
    assert all(batches.file(sample).is_file() for sample in batches.samples)
    by_id = {sample.image_id: sample for sample in batches.samples}
    assert by_id.keys() == {sample.image_id for sample in one.samples}
    for sample in one.samples:
        other = by_id[sample.image_id]
        assert (other.patient_id, other.view, other.split) == (sample.patient_id, sample.view, sample.split)
        np.testing.assert_array_equal(other.labels_F, sample.labels_F)


def test_the_folder_of_one_batch_stands_for_all(tmp_path: Path) -> None:
    root = chexpert_batches(tmp_path)
    tables = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    assert read_dataset(f"chexpert:{tables}").sha256 == read_dataset(f"chexpert:{root}").sha256


@pytest.mark.parametrize("prefix", ["", "CheXpert-v1.0/"])
def test_the_official_test_set_is_the_test_and_valid_validates(
    tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    chexpert_test(chexpert_tree(tmp_path), prefix)
    with caplog.at_level(logging.WARNING):
        manifest = read_dataset(f"chexpert:{tmp_path}")
    assert "test_labels.csv is the test part, and valid.csv validates" in caplog.text
    assert [(sample.image_id.split("/")[0], sample.split) for sample in manifest.samples] == [
        ("test", "test"),
        ("train", "train"),
        ("train", "train"),
        ("train", "train"),
        ("valid", "validate"),
    ]
    tested = manifest.samples[0]
    np.testing.assert_array_equal(tested.labels_F, labels(edema=1, no_finding=0))
    assert (tested.view, tested.sex, tested.age) == ("frontal", "unknown", None)
    assert official_split(manifest, 0).test == (tested.image_id,)
    before = read_dataset(f"chexpert:{tmp_path}", ReadOptions(official_test=False))
    assert {sample.split for sample in before.samples} == {"train", "test"}
    assert len(before) == 4


def test_chexlocalize_has_neither_training_images_nor_columns_for_people(tmp_path: Path) -> None:
    top = chexpert_test(tmp_path / "CheXpert")
    validation = "CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg,0.0,1.0"
    write_table(top / "val_labels.csv", "Path,No Finding,Edema", [validation])
    (top / "val").mkdir()
    (top / "test" / "patient64741").rename(top / "test" / "patient64742")
    (top / "test" / "patient64742").rename(top / "test" / "patient64741")
    image = top / "test" / "patient64741" / "study1" / "view1_frontal.jpg"
    (top / "val" / "patient64541" / "study1").mkdir(parents=True)
    (top / "val" / "patient64541" / "study1" / "view1_frontal.jpg").write_bytes(image.read_bytes())
    manifest = read_dataset(f"chexpert:{tmp_path}")
    assert not manifest.faults
    assert [sample.path for sample in manifest.samples] == [
        "CheXpert/test/patient64741/study1/view1_frontal.jpg",
        "CheXpert/val/patient64541/study1/view1_frontal.jpg",
    ]
    assert {sample.split for sample in manifest.samples} == {"test", "validate"}


@pytest.mark.parametrize(
    ("labeler", "table"), [("chexbert", "train_cheXbert"), ("visualchexbert", "train_visualCheXbert")]
)
def test_labels_of_another_labeler(tmp_path: Path, labeler: str, table: str) -> None:
    chexpert_tree(tmp_path)
    path = "CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg"
    write_table(tmp_path / f"{table}.csv", CHEXPERT, [f"{path},Female,68,Frontal,AP,,1.0,"])
    (sample,) = [
        sample
        for sample in read_dataset(f"chexpert:{tmp_path}", ReadOptions(labeler=labeler)).samples  # type: ignore[arg-type]
        if sample.split == "train"
    ]
    np.testing.assert_array_equal(sample.labels_F, labels(edema=1))
    (tmp_path / "train.csv").unlink()
    with pytest.raises(DatasetError, match=f"--read labeler={labeler}"):
        read_dataset(f"chexpert:{tmp_path}")


def test_a_labeler_of_mimic_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="CheXpert has no labels of negbio"):
        read_dataset(f"chexpert:{chexpert_tree(tmp_path)}", ReadOptions(labeler="negbio"))


@pytest.mark.parametrize("nested", [False, True])
def test_chexpert_plus(tmp_path: Path, nested: bool) -> None:
    root = chexpert_plus_tree(tmp_path / "plus")
    if nested:  # as its archive unpacks
        (root / "PNG").rename(root / "below")
        (root / "PNG").mkdir()
        (root / "below").rename(root / "PNG" / "PNG")
    manifest = read_dataset(f"chexpert-plus:{root}")
    assert not manifest.faults
    assert manifest.annotated == ("Edema",)
    first, second = manifest.samples
    assert manifest.file(first).is_file()
    assert (first.patient_id, first.view, first.sex, first.age, first.split) == (
        "patient42142",
        "PA",
        "M",
        61,
        "train",
    )
    assert (second.view, second.split) == ("lateral", "test")
    np.testing.assert_array_equal(first.labels_F, labels(edema=1))
    np.testing.assert_array_equal(second.labels_F, labels(edema=-1))


def test_chexpert_plus_without_the_labels_of_a_section_and_with_bad_lines(tmp_path: Path) -> None:
    root = chexpert_plus_tree(tmp_path)
    with pytest.raises(DatasetError, match=r"no chexbert_labels/report_fixed\.json"):
        read_dataset(f"chexpert-plus:{root}", ReadOptions(section="report"))
    file = root / "chexbert_labels" / "impression_fixed.json"
    file.write_text(file.read_text().replace("-1.0", "7") + "no json\n")
    manifest = read_dataset(f"chexpert-plus:{root}", ReadOptions(max_bad_share=1))
    assert len(manifest) == 1
    assert [(fault.where, fault.reason) for fault in manifest.faults] == [
        ("impression_fixed.json:2", "unknown label value"),
        ("impression_fixed.json:3", "malformed row"),
        ("df_chexpert_plus_240401.csv:5", "study missing from the label table"),
    ]


def test_a_patient_is_one_person_in_every_release_of_chexpert() -> None:
    hashes = {patient_hash("salt", kind, "patient00001") for kind in ("chexpert", "chexpert-plus")}
    assert len(hashes) == 1
    assert patient_hash("salt", "nih", "patient00001") not in hashes
