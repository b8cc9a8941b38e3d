"""The manifest of a dataset: its hash, its files, its errors."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrserve.findings import NAMES
from tests.training.dataset_trees import chexpert_tree, labels, manifest, sample
from training.datasets import (
    DatasetError,
    Fault,
    ReadOptions,
    Sample,
    group_studies,
    keep_views,
    read_dataset,
    read_manifest,
    write_manifest,
)
from training.datasets.cells import frozen, read_age, relative_path
from training.datasets.faults import BadRow
from training.datasets.manifest import new_manifest
from training.datasets.sample import Part, Sex, View
from training.datasets.studies import merged_labels
from training.datasets.views import read_view

text = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" "),
    min_size=1,
    max_size=12,
)
label_values = st.sampled_from([1.0, 0.0, -1.0, float("nan")])
many_samples = st.lists(
    st.builds(
        Sample,
        path=text,
        patient_id=text,
        study_id=text,
        image_id=text,
        labels_F=st.lists(label_values, min_size=14, max_size=14).map(frozen),
        view=st.sampled_from(get_args(View)),
        sex=st.sampled_from(get_args(Sex)),
        age=st.none() | st.integers(0, 12000).map(lambda hundredths: hundredths / 100),
        rows=st.none() | st.integers(1, 5000),
        columns=st.none() | st.integers(1, 5000),
        split=st.none() | st.sampled_from(get_args(Part)),
    ),
    min_size=1,
    max_size=6,
    unique_by=(lambda each: each.image_id, lambda each: each.path),
)


@settings(max_examples=30)
@given(many_samples, st.randoms(use_true_random=False))
def test_the_hash_does_not_depend_on_the_order(samples: list[Sample], shuffler: random.Random) -> None:
    shuffled = samples.copy()
    shuffler.shuffle(shuffled)
    assert manifest(shuffled).sha256 == manifest(samples).sha256


def test_the_hash_does_not_depend_on_the_place(tmp_path: Path) -> None:
    here, there = chexpert_tree(tmp_path / "here"), chexpert_tree(tmp_path / "far" / "there")
    table = there / "train.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join((header, *reversed(rows))) + "\n")
    assert read_dataset(f"chexpert:{here}").sha256 == read_dataset(f"chexpert:{there}").sha256


@pytest.mark.parametrize(
    "other",
    [
        sample(1, "2"),
        sample(1, split="test"),
        sample(1, labels_F=labels(edema=1)),
        sample(1, labels_F=labels(edema=0)),
        sample(1, labels_F=labels(fracture=0)),
        sample(2),
    ],
)
def test_the_hash_depends_on_the_content(other: Sample) -> None:
    assert manifest([other]).sha256 != manifest([sample(1)]).sha256


def test_the_hash_is_the_same_for_ever() -> None:
    expected = "1a244aff6fa41f8d627131f9209307c507c65bee2ca297393978f6f23484a37b"
    assert manifest([sample(2), sample(1, "Ä", labels_F=labels(edema=-1, fracture=1))]).sha256 == expected


@settings(max_examples=20)
@given(many_samples)
def test_written_and_read_again(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    fault = Fault(where="a.csv:3", reason="malformed row", detail='2 cells, "expected" 3\n')
    written = new_manifest(
        source="made-up", root=Path("/a"), samples=samples, annotated=("Edema",), faults=[fault]
    )
    write_manifest(written, folder)
    again = read_manifest(folder, Path("/b"))
    assert (again.sha256, again.source, again.annotated) == (written.sha256, "made-up", ("Edema",))
    assert (again.faults, again.root) == ((fault,), Path("/b"))
    np.testing.assert_array_equal(again.labels_NF(), written.labels_NF())
    for one, other in zip(again.samples, written.samples, strict=True):
        for name in (
            "path",
            "patient_id",
            "study_id",
            "image_id",
            "view",
            "sex",
            "age",
            "rows",
            "columns",
            "split",
        ):
            assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("manifest.csv", "images/1.png", "images/2.png", "was changed"),
        ("manifest.csv", ",,1,", ",,7,", "was changed"),
        ("manifest.csv", "patient_id", "patient", "another header"),
        ("manifest.json", '"format": 1', '"format": 2', "format 2, expected 1"),
        ("manifest.json", "{", "", "no manifest"),
        ("manifest.json", '"source"', '"sauce"', "no manifest"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    write_manifest(manifest([sample(1, labels_F=labels(edema=1))]), tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(DatasetError, match=message):
        read_manifest(tmp_path, tmp_path)


def test_an_unfinished_manifest_is_refused(tmp_path: Path) -> None:
    write_manifest(manifest([sample(1)]), tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(DatasetError, match="prepare the data again"):
        read_manifest(tmp_path, tmp_path)


def test_labels_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    first = read_dataset(f"chexpert:{chexpert_tree(tmp_path)}").samples[0]
    with pytest.raises(ValueError, match="read-only"):
        first.labels_F[0] = 1


@given(
    st.text(max_size=20) | st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "~", "C:", ""])).map("/".join)
)
def test_no_path_leaves_the_root(cell: str) -> None:
    try:
        path = relative_path(cell)
    except BadRow:
        return
    assert os.path.normpath(f"/root/{path}").startswith("/root")


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        ("58", 58),
        ("058Y", 58),
        ("18M", 1.5),
        ("012D", 0.03),
        ("411Y", None),
        ("", None),
        ("old", None),
        ("68.0", 68),
    ],
)
def test_age(cell: str, years: float | None) -> None:
    assert read_age(cell) == years


@pytest.mark.parametrize(
    ("cell", "view"),
    [("pa ", "PA"), ("AP LLD", "frontal"), ("LL", "lateral"), ("LAO", "other"), ("", "unknown")],
)
def test_view(cell: str, view: str) -> None:
    assert read_view(cell) == view


def test_views_are_filtered(tmp_path: Path) -> None:
    everything = read_dataset(f"chexpert:{chexpert_tree(tmp_path)}")
    counts = {
        which: len(keep_views(everything, which)) for which in ("all", "frontal", "lateral", "AP", "PA")
    }
    assert counts == {"all": 4, "frontal": 3, "lateral": 1, "AP": 1, "PA": 1}
    assert keep_views(everything, "all").sha256 == everything.sha256
    assert keep_views(everything, "AP").sha256 != everything.sha256


def test_a_view_that_no_image_has(tmp_path: Path) -> None:
    one = keep_views(read_dataset(f"chexpert:{chexpert_tree(tmp_path)}"), "AP")
    with pytest.raises(DatasetError, match="its views are AP"):
        keep_views(one, "lateral")
    with pytest.raises(DatasetError, match="expected one of all"):
        keep_views(one, "oblique")  # type: ignore[arg-type]


def _in_study(number: int, study: str, view: View, **said: float) -> Sample:
    return Sample(
        path=f"{number}.png",
        patient_id="7",
        study_id=study,
        image_id=str(number),
        labels_F=labels(**said),
        view=view,
    )


def test_studies_take_frontal_views_first_and_all_labels() -> None:
    films = manifest(
        [
            _in_study(1, "a", "lateral", edema=1),
            _in_study(2, "a", "PA", edema=-1, fracture=0),
            _in_study(3, "a", "AP", fracture=-1),
            _in_study(4, "b", "lateral"),
        ]
    )
    first, second = group_studies(films, 2)
    assert [films.samples[index].image_id for index in first.images] == ["2", "3"]
    np.testing.assert_array_equal(first.labels_F, labels(edema=1, fracture=-1))
    assert (second.study_id, second.images) == ("b", (3,))
    with pytest.raises(ValueError, match="at least 1"):
        group_studies(films, 0)


@given(st.lists(st.lists(label_values, min_size=14, max_size=14), min_size=1, max_size=4))
def test_merged_labels_are_the_weightiest(rows: list[list[float]]) -> None:
    weight = {"1.0": 3, "-1.0": 2, "0.0": 1, "nan": 0}
    merged_F = merged_labels(np.array(rows, np.float32))
    for index in range(len(NAMES)):
        assert weight[str(merged_F[index])] == max(weight[str(row[index])] for row in rows)


def test_unchecked_files_need_not_be_there(tmp_path: Path) -> None:
    chexpert_tree(tmp_path)
    (tmp_path / "valid" / "patient64541" / "study1" / "view1_frontal.jpg").unlink()
    assert len(read_dataset(f"chexpert:{tmp_path}", ReadOptions(check_files=False))) == 4
