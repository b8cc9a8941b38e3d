"""Splits and folds keep each patient in one part."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.dataset_trees import chexpert_tree, manifest, mimic_tree, nih_row, nih_tree, sample
from training.datasets import DatasetError, Manifest, read_dataset
from training.datasets.make_splits import fold_splits, official_split, random_split, row_split
from training.datasets.sample import Part
from training.datasets.split import Split, check_split, read_split, shared_patients, write_split
from training.recipes.config import SplitConfig
from training.steps.prepare import make_splits


def _films(patients: list[int]) -> Manifest:
    """As many images of each patient as said."""
    owners = [str(patient) for patient, count in enumerate(patients) for _ in range(count)]
    return manifest([sample(number, owner) for number, owner in enumerate(owners)])


def _patients(films: Manifest, image_ids: tuple[str, ...]) -> set[str]:
    owner = {each.image_id: each.patient_id for each in films.samples}
    return {owner[image_id] for image_id in image_ids}


some_patients = st.lists(st.integers(1, 4), min_size=10, max_size=40)
seeds = st.integers(-(2**40), 2**40)


@given(some_patients, seeds)
def test_no_patient_stands_in_two_parts(patients: list[int], seed: int) -> None:
    films = _films(patients)
    for split in (*fold_splits(films, seed), random_split(films, seed)):
        parts = [_patients(films, ids) for ids in (split.train, split.validation, split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(patients)
        assert sorted(split.train + split.validation + split.test) == sorted(
            each.image_id for each in films.samples
        )


@given(some_patients, seeds, st.integers(2, 7))
def test_folds_test_every_patient_once(patients: list[int], seed: int, folds: int) -> None:
    films = _films(patients)
    tested = [
        patient for split in fold_splits(films, seed, folds=folds) for patient in _patients(films, split.test)
    ]
    assert sorted(tested) == sorted({each.patient_id for each in films.samples})


@settings(max_examples=20)
@given(some_patients, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(patients: list[int], shuffler: random.Random) -> None:
    films = _films(patients)
    rows = list(films.samples)
    shuffler.shuffle(rows)
    assert fold_splits(manifest(rows), 3) == fold_splits(films, 3)


def test_shares_are_those_of_the_papers() -> None:
    films = _films([1] * 1000)
    for split in fold_splits(films, 0):
        assert [len(split.train), len(split.validation), len(split.test)] == [720, 80, 200]
    split = random_split(films, 42)
    assert [len(split.train), len(split.validation), len(split.test)] == [800, 100, 100]


def test_the_same_for_ever_and_on_every_machine() -> None:
    chosen = [(split.validation, split.test) for split in fold_splits(_films([1] * 10), 0)]
    assert chosen == [
        (("9",), ("5", "6")),
        (("3",), ("0", "7")),
        (("8",), ("3", "4")),
        (("7",), ("1", "9")),
        (("7",), ("2", "8")),
    ]


def test_seeds_and_folds_differ() -> None:
    films = _films([1] * 50)
    splits = (*fold_splits(films, 0), *fold_splits(films, 1), random_split(films, 0), random_split(films, 1))
    assert len({split.sha256 for split in splits}) == len(splits)
    assert len({split.test for split in splits}) == len(splits)


@pytest.mark.parametrize("patients", [[3], [1, 1]])
def test_too_few_patients(patients: list[int]) -> None:
    with pytest.raises(DatasetError, match="too few patients"):
        random_split(_films(patients), 0)
    with pytest.raises(DatasetError, match="too few patients"):
        fold_splits(_films(patients), 0)


def test_impossible_shares() -> None:
    films = _films([1] * 10)
    with pytest.raises(ValueError, match="between 0 and 1"):
        random_split(films, 0, test_share=1.2)
    with pytest.raises(ValueError, match="at least 2"):
        fold_splits(films, 0, folds=1)


def test_by_row_says_that_it_leaks(caplog: pytest.LogCaptureFixture) -> None:
    films = _films([10] * 20)
    split = row_split(films, 42)
    assert [len(split.train), len(split.validation), len(split.test)] == [160, 20, 20]
    assert split.unit == "row"
    leaking = len(shared_patients(split, films))
    assert leaking > 0
    assert f"{leaking} of 20 patients stand in more than one part" in caplog.text
    check_split(split, films)


def _with_parts(*parts: str | None) -> Manifest:
    return manifest([sample(n, str(n), split=part) for n, part in enumerate(parts)])  # type: ignore[arg-type]


def test_official_parts_are_taken_as_they_are() -> None:
    split = official_split(_with_parts("train", "test", "validate", "train"), 0)
    assert (split.train, split.validation, split.test, split.rule) == (("0", "3"), ("2",), ("1",), "official")


def test_official_split_draws_validation_from_training() -> None:
    split = official_split(_with_parts(*["train"] * 20, *["test"] * 3), 0)
    assert split.test == ("20", "21", "22")
    assert [len(split.train), len(split.validation)] == [18, 2]


def test_official_split_of_an_image_in_no_part() -> None:
    with pytest.raises(DatasetError, match="1 of 3 images of made-up belong to no official part, such as 2"):
        official_split(_with_parts("train", "test", None), 0)


def test_official_split_without_a_test() -> None:
    with pytest.raises(DatasetError, match="leaves test empty"):
        official_split(_with_parts("train", "train", "validate"), 0)


def test_official_split_that_leaks() -> None:
    films = manifest(
        [sample(1, "7", split="train"), sample(2, "7", split="test"), sample(3, "8", split="validate")]
    )
    with pytest.raises(DatasetError, match="1 patients stand in more than one part"):
        official_split(films, 0)


def test_official_splits_of_the_datasets(tmp_path: Path) -> None:
    chexpert = read_dataset(f"chexpert:{chexpert_tree(tmp_path / 'chexpert')}")
    split = official_split(chexpert, 0)
    assert split.test == ("valid/patient64541/study1/view1_frontal.jpg",)
    mimic = mimic_tree(tmp_path / "mimic")
    table = mimic / "mimic-cxr-2.0.0-split.csv"
    with pytest.raises(DatasetError, match="leaves train empty"):  # one training patient, who now validates
        official_split(read_dataset(f"mimic-cxr-jpg:{mimic}"), 0)
    table.unlink()
    with pytest.raises(DatasetError, match="split table is absent"):
        official_split(read_dataset(f"mimic-cxr-jpg:{mimic}"), 0)
    nih = nih_tree(tmp_path / "nih", [nih_row(f"0000000{n}_000.png", "Edema", n) for n in range(1, 5)])
    (nih / "train_val_list.txt").write_text("\n".join(f"0000000{n}_000.png" for n in range(1, 4)))
    (nih / "test_list.txt").write_text("00000004_000.png")
    assert official_split(read_dataset(f"nih:{nih}"), 0).test == ("00000004_000.png",)


def test_written_and_read_again(tmp_path: Path) -> None:
    films = _films([2] * 10)
    for number, split in enumerate(fold_splits(films, 5)):
        write_split(split, tmp_path / f"{number}.json")
        assert read_split(tmp_path / f"{number}.json", films) == split


def test_positions_point_at_the_images() -> None:
    films = _films([3] * 12)
    split = random_split(films, 0)
    positions = split.positions(films)
    assert {films.samples[index].image_id for index in positions["test"]} == set(split.test)
    assert sorted(index for part in positions.values() for index in part) == list(range(36))


def _leaking() -> tuple[Manifest, Split]:
    films = _films([2] * 10)
    split = random_split(films, 0)
    train, test = list(split.train), list(split.test)
    train[0], test[0] = test[0], train[0]
    return films, replace(split, train=tuple(train), test=tuple(test))


def test_a_leaking_file_is_refused(tmp_path: Path) -> None:
    films, split = _leaking()
    write_split(split, tmp_path / "split.json")
    with pytest.raises(DatasetError, match="2 patients stand in more than one part"):
        read_split(tmp_path / "split.json", films)


def test_a_split_that_loses_an_image_is_refused(tmp_path: Path) -> None:
    films = _films([1] * 10)
    split = random_split(films, 0)
    write_split(replace(split, train=split.train[1:]), tmp_path / "split.json")
    with pytest.raises(DatasetError, match="each image just once"):
        read_split(tmp_path / "split.json", films)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    films, path = _films([1] * 10), tmp_path / "split.json"
    write_split(random_split(films, 0), path)
    stored = json.loads(path.read_text())
    stored["train"], stored["test"] = stored["test"], stored["train"]
    path.write_text(json.dumps(stored))
    with pytest.raises(DatasetError, match="its SHA-256 is"):
        read_split(path, films)
    path.write_text("[]")
    with pytest.raises(DatasetError, match="no split that can be used"):
        read_split(path, films)


def test_a_split_of_another_manifest_is_refused(tmp_path: Path) -> None:
    write_split(random_split(_films([1] * 10), 0), tmp_path / "split.json")
    with pytest.raises(DatasetError, match="split it again"):
        read_split(tmp_path / "split.json", _films([1] * 11))


@pytest.mark.parametrize("kind", ["patient-folds", "random", "official"])
def test_a_patient_of_two_datasets_is_in_the_same_part_of_both(kind: str) -> None:
    """As `--data mimic-cxr-jpg:… --data mimic-cxr:…`: the same people, in part."""
    parts: list[Part] = ["test" if number % 5 == 0 else "train" for number in range(40)]
    whole = manifest([sample(number, str(number), split=parts[number]) for number in range(40)])
    some = manifest([sample(number, str(number), split=parts[number]) for number in range(10, 34)])
    for one, other in zip(*make_splits([whole, some], SplitConfig(kind=kind, folds=4)), strict=True):  # type: ignore[arg-type]
        training = _patients(whole, one.train) | _patients(some, other.train)
        assert not training & (_patients(whole, one.test) | _patients(some, other.test))
        assert not training & (_patients(whole, one.validation) | _patients(some, other.validation))


def test_official_parts_that_contradict_each_other_are_refused() -> None:
    one = manifest([sample(number, str(number), split="train" if number else "test") for number in range(20)])
    other = manifest(
        [sample(number, str(number), split="test" if number else "train") for number in range(20)]
    )
    with pytest.raises(DatasetError, match=r"patient 0 is in .* of one dataset and in"):
        make_splits([one, other], SplitConfig(kind="official"))
