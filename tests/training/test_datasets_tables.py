"""The published tables' true headers, where they are at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.dataset_trees import TABLES, labels, write_image
from training.datasets import Manifest, ReadOptions, read_dataset

pytestmark = pytest.mark.skipif(
    not TABLES.is_dir(), reason=f"the published tables' headers are not at {TABLES}"
)
UNCHECKED = ReadOptions(check_files=False)


def _by_image(manifest: Manifest) -> dict[str, np.ndarray]:
    return {sample.image_id[-1]: sample.labels_F for sample in manifest.samples}


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize(("kind", "extension"), [("mimic-cxr-jpg", ".jpg"), ("mimic-cxr", ".dcm")])
def test_mimic(tmp_path: Path, kind: str, extension: str, ending: str) -> None:
    for table in TABLES.glob(f"mimic-cxr-*.{ending}"):
        shutil.copy(table, tmp_path)
    manifest = read_dataset(f"{kind}:{tmp_path}", UNCHECKED)
    assert not manifest.faults
    assert [sample.view for sample in manifest.samples] == ["PA", "lateral", "AP", "AP", "unknown"]
    assert [sample.split for sample in manifest.samples] == ["train", "train", "train", "validate", "test"]
    assert (manifest.samples[0].rows, manifest.samples[0].columns) == (3056, 2544)
    assert all(sample.path.endswith(extension) for sample in manifest.samples)
    said = _by_image(manifest)
    np.testing.assert_array_equal(said["1"], labels(no_finding=1))
    np.testing.assert_array_equal(
        said["3"], labels(cardiomegaly=1, edema=-1, pleural_effusion=1, pneumothorax=0, support_devices=1)
    )


def test_negbio_and_the_radiologist() -> None:
    chosen = ReadOptions(check_files=False, labeler="negbio", radiologist_test_labels=True)
    said = _by_image(read_dataset(f"mimic-cxr-jpg:{TABLES}", chosen))
    np.testing.assert_array_equal(said["4"], labels(consolidation=0, lung_opacity=1, pneumonia=1))
    np.testing.assert_array_equal(said["5"], labels(lung_opacity=1))


def test_chexpert(tmp_path: Path) -> None:
    shutil.copy(TABLES / "chexpert_train.csv", tmp_path / "train.csv")
    shutil.copy(TABLES / "chexpert_valid.csv.gz", tmp_path / "valid.csv.gz")
    manifest = read_dataset(f"chexpert:{tmp_path}", UNCHECKED)
    assert [sample.view for sample in manifest.samples] == ["AP", "PA", "lateral", "frontal", "AP", "lateral"]
    np.testing.assert_array_equal(
        manifest.samples[1].labels_F,
        labels(lung_opacity=1, edema=-1, consolidation=-1, atelectasis=-1, pleural_effusion=1),
    )
    assert manifest.samples[3].sex == "unknown"


def test_nih(tmp_path: Path) -> None:
    shutil.copy(TABLES / "nih_Data_Entry_2017_v2020.subset.csv", tmp_path / "Data_Entry_2017_v2020.csv")
    names = [
        row.split(",")[0] for row in (tmp_path / "Data_Entry_2017_v2020.csv").read_text().splitlines()[1:]
    ]
    for name in names:
        write_image(tmp_path / "images" / name)
    manifest = read_dataset(f"nih:{tmp_path}")
    assert [sample.image_id for sample in manifest.samples] == sorted(names)
    assert {sample.view for sample in manifest.samples} == {"AP", "PA"}
    assert manifest.samples[4].age == 81
