"""Phantoms: the same for the same seed, labelled as they are drawn, readable as files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxrserve.findings import INDEX, NAMES
from cxrserve.imaging.profiles import apply_profile
from training.phantom import Phantom, finding_names, make_phantom, write_phantoms
from training.phantom.phantom import IMPLIES, labels
from training.phantom.signs import SIGNS

SEEDS = range(12)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [make_phantom(seed) for seed in SEEDS]


def test_the_same_seed_draws_the_same_phantom(phantoms: list[Phantom]) -> None:
    again = make_phantom(3)
    assert np.array_equal(again.radiograph.pixels_HW, phantoms[3].radiograph.pixels_HW)
    assert np.array_equal(again.places_FGG, phantoms[3].places_FGG)
    assert again.view == phantoms[3].view
    assert not np.array_equal(again.labels_F, phantoms[4].labels_F)


def test_size_depth_and_contrast_are_those_of_a_detector(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        rows, columns = phantom.radiograph.pixels_HW.shape
        assert 2050 <= columns < rows + 300
        assert rows >= 2150
        assert phantom.radiograph.pixels_HW.dtype == np.uint16
        assert phantom.radiograph.pixels_HW.max() <= 4095
        assert phantom.radiograph.pixels_HW.std() > 300


def test_a_finding_has_a_place_exactly_where_it_is_labelled(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        placed = phantom.places_FGG.any((1, 2))
        expected = phantom.labels_F.copy()
        expected[INDEX["No Finding"]] = False
        assert placed.tolist() == expected.tolist(), f"seed {phantom.seed}"


@pytest.mark.parametrize(("child", "parent"), IMPLIES.items())
def test_a_finding_implies_its_parent_as_in_chexpert(child: str, parent: str) -> None:
    assert set(finding_names(labels((child,)))) == {child, parent}


def test_no_finding_allows_devices_and_nothing_else() -> None:
    assert finding_names(labels(())) == ("No Finding",)
    assert finding_names(labels(("Support Devices",))) == ("No Finding", "Support Devices")
    assert "No Finding" not in finding_names(labels(("Fracture", "Support Devices")))


def test_every_finding_but_no_finding_has_a_sign() -> None:
    assert set(SIGNS) == set(NAMES) - {"No Finding"}


def test_fine_findings_are_small_and_coarse_ones_large() -> None:
    shares: dict[str, list[float]] = {"Fracture": [], "Lung Lesion": [], "Cardiomegaly": []}
    for seed in range(100, 130):
        phantom = make_phantom(seed)
        for name, found in shares.items():
            if phantom.labels_F[INDEX[name]]:
                found.append(float(phantom.places_FGG[INDEX[name]].mean()))
    assert max(shares["Fracture"]) < 0.01
    assert max(shares["Lung Lesion"]) < 0.01
    assert min(shares["Cardiomegaly"]) > 0.04


def test_dicom_files_hold_the_phantom_in_both_photometric_interpretations(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 2, seed=5, format="dicom")
    for seed, interpretation in ((5, "MONOCHROME1"), (6, "MONOCHROME2")):
        dicom = pydicom.dcmread(tmp_path / f"phantom_{seed:06d}.dcm")
        assert dicom.PhotometricInterpretation == interpretation
        assert (dicom.BitsStored, dicom.Modality, dicom.PresentationIntentType) == (
            12,
            "DX",
            "FOR PRESENTATION",
        )
        assert str(dicom.PatientName).startswith("PHANTOM^")
        stored = dicom.pixel_array
        expected = make_phantom(seed).radiograph.pixels_HW
        assert np.array_equal(stored if interpretation == "MONOCHROME2" else 4095 - stored, expected)


def test_jpeg_files_come_with_a_table_of_labels(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path, 2, seed=0, format="jpeg")
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["phantom_000000.jpg", "phantom_000001.jpg"]
    phantom = make_phantom(1)
    assert [row for row in NAMES if rows[1][row] == "1"] == list(finding_names(phantom.labels_F))
    assert (tmp_path / "phantom_000001.jpg").stat().st_size > 100_000


def test_the_picture_is_white_where_it_is_dense(phantoms: list[Phantom]) -> None:
    grey_HW, _ = apply_profile(phantoms[0].radiograph, "mimic-cxr-jpg")
    rows, columns = grey_HW.shape
    spine = grey_HW[rows // 2 : rows // 2 + 200, columns // 2 - 60 : columns // 2 + 60].mean()
    assert spine > 200
