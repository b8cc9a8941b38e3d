"""Datasets that are refused as a whole, and what the refusal says."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cxrserve.errors import ConfigurationError
from tests.training.dataset_trees import chexpert_tree, mimic_id, mimic_tree, write_table
from training.datasets import READERS, DatasetError, ReadOptions, read_dataset


def test_too_many_bad_rows_are_counted_by_reason_with_examples(tmp_path: Path) -> None:
    gone = [f"{mimic_id(number)},20000001,60000001,PA,1,1," for number in range(10, 15)]
    unknown = f"{mimic_id(20)},20000001,69999999,PA,1,1,"
    spec = f"mimic-cxr-jpg:{mimic_tree(tmp_path, more=[*gone, unknown])}"
    with pytest.raises(DatasetError) as refused:
        read_dataset(spec)
    message = refused.value.detail
    assert "6 of 10 rows are bad (60.0%), at most 5.0% may be" in message
    assert message.index("5 × image file missing") < message.index("1 × study missing from the label table")
    assert "mimic-cxr-2.0.0-metadata.csv:6" in message
    assert "max_bad_share" in message
    assert len(read_dataset(spec, ReadOptions(max_bad_share=0.6))) == 4
    assert isinstance(refused.value, ConfigurationError)


def test_nothing_good_is_refused_whatever_share_is_allowed(tmp_path: Path) -> None:
    write_table(tmp_path / "films.csv", "path,patient,Edema", ["1.png,7,1"])
    with pytest.raises(DatasetError, match="nothing is left"):
        read_dataset(f"folder:{tmp_path}", ReadOptions(max_bad_share=1))


def test_an_empty_table(tmp_path: Path) -> None:
    write_table(tmp_path / "films.csv", "path,patient,Edema", [])
    with pytest.raises(DatasetError, match="no images at all"):
        read_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("spec", ["mimic:/data", "chexpert", "folder:", "/data/chexpert"])
def test_an_unknown_kind_shows_the_known_ones(spec: str) -> None:
    with pytest.raises(DatasetError, match=", ".join(READERS)):
        read_dataset(spec)


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nothing at"):
        read_dataset(f"chexpert:{tmp_path / 'typo'}")


@pytest.mark.parametrize("kind", READERS)
def test_an_empty_folder(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DatasetError, match=r"expected|check the path"):
        read_dataset(f"{kind}:{tmp_path}")


@pytest.mark.parametrize("kind", ["metadata", "chexpert"])
def test_mimic_without_a_table(tmp_path: Path, kind: str) -> None:
    (mimic_tree(tmp_path) / f"mimic-cxr-2.0.0-{kind}.csv").unlink()
    with pytest.raises(DatasetError, match=rf"no mimic-cxr-\*-{kind}.csv"):
        read_dataset(f"mimic-cxr-jpg:{tmp_path}")


def test_nih_without_pictures(tmp_path: Path) -> None:
    write_table(tmp_path / "Data_Entry_2017.csv", "Image Index", [])
    with pytest.raises(DatasetError, match="unpack the archives"):
        read_dataset(f"nih:{tmp_path}")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path;patient;Edema", "no column for any finding"),
        ("path,Edema", "no column 'patient'"),
        ("path,patient,Edema,Edema", "Edema twice"),
        ("path,patient,lung_lesion,Lung Lesion", "'lung_lesion' and 'Lung Lesion' are the same"),
        ("path,patient,Patient_ID,Edema", "'patient' and 'Patient_ID' are the same"),
        ("path,patient", "no column for any finding"),
    ],
)
def test_header(tmp_path: Path, header: str, message: str) -> None:
    write_table(tmp_path / "films.csv", header, [])
    with pytest.raises(DatasetError, match=message):
        read_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "damaged",
    [
        gzip.compress(b"Path,Sex\n" * 10_000)[:-20],
        b"Path,Sex\n",
        gzip.compress("Path,Name\n".encode("utf-16")),
    ],
    ids=["cut", "not gzip", "not UTF-8"],
)
def test_a_damaged_table(tmp_path: Path, damaged: bytes) -> None:
    chexpert_tree(tmp_path)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.csv.gz").write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"train.csv.gz: (cannot be read|no column)"):
        read_dataset(f"chexpert:{tmp_path}")


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    (tmp_path / "films.csv").write_bytes(b"\xef\xbb\xbfpath,patient,Edema\r\n1.png,7,1\r\n")
    assert len(read_dataset(f"folder:{tmp_path}")) == 1
