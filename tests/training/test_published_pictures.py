"""Published pictures and DICOM meet in the same grey values, and are resized as the papers did it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare, read_radiograph
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing, resize
from training.cache.files import preprocessing_key
from training.datasets.pictures import PROFILE_OF, expected_inputs, profile_note, treatment
from training.phantom import make_phantom, write_dicom, write_jpeg
from training.recipes import RECIPES, DatasetData, recipe

FINAL = Preprocessing(profile="mimic-cxr-jpg", pictures="final", sizes=(256,))
AGAIN = FINAL.model_copy(update={"pictures": "profile"})


def level(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    return prepare(path.read_bytes(), preprocessing, Limits()).levels[256].astype(np.float64)


def test_a_dicom_and_its_published_jpeg_meet(tmp_path: Path) -> None:
    """The JPEG was made from the DICOM by MIMIC-CXR-JPG's profile."""
    phantom = make_phantom(9)
    write_dicom(tmp_path / "p.dcm", phantom)
    write_jpeg(tmp_path / "p.jpg", phantom)
    apart = np.abs(level(tmp_path / "p.dcm", FINAL) - level(tmp_path / "p.jpg", FINAL))
    assert apart.mean() < 1.0
    applied = prepare((tmp_path / "p.jpg").read_bytes(), FINAL, Limits()).applied
    assert "grey-as-published" in applied
    assert "equalize-histogram" not in applied
    assert "equalize-histogram" in prepare((tmp_path / "p.dcm").read_bytes(), FINAL, Limits()).applied


@pytest.mark.parametrize(
    ("dataset", "suffix"),
    [("mimic-cxr-jpg", "jpg"), ("chexpert", "jpg"), ("nih", "png")],
)
def test_training_on_published_files_meets_serving_dicom(tmp_path: Path, dataset: str, suffix: str) -> None:
    """Whatever the profile, if it is the one that made the published file; NIH's never equalised."""
    profile = PROFILE_OF.get(dataset, "linear")
    preprocessing = Preprocessing(profile=profile, pictures="final", sizes=(256,))
    write_dicom(tmp_path / "p.dcm", make_phantom(9))
    radiograph = read_radiograph((tmp_path / "p.dcm").read_bytes(), Limits())
    published, _ = apply_profile(radiograph, profile)
    cv2.imwrite(str(tmp_path / f"p.{suffix}"), published, [cv2.IMWRITE_JPEG_QUALITY, 95])
    apart = np.abs(level(tmp_path / "p.dcm", preprocessing) - level(tmp_path / f"p.{suffix}", preprocessing))
    # A PNG is exact; a JPEG loses little.
    assert apart.max() == 0 if suffix == "png" else apart.mean() < 1.0
    assert "taken as it is" in treatment(dataset, preprocessing)
    assert f"made grey by the profile {profile}" in treatment("mimic-cxr", preprocessing)


def test_a_bundle_says_what_it_expects_of_each_format() -> None:
    final, again = expected_inputs(FINAL), expected_inputs(AGAIN)
    assert list(final) == list(again) == ["DICOM", "JPEG", "PNG"]
    assert final["DICOM"] == again["DICOM"] == "stored values, made grey by the profile mimic-cxr-jpg"
    assert "taken as it is" in final["JPEG"]
    assert again["JPEG"] == again["DICOM"]
    assert "of 16 bits stored values" in final["PNG"]


def test_a_png_that_was_never_equalised_is_taken_as_it_is(tmp_path: Path) -> None:
    """As NIH's: a second pass through a profile moves it by far."""
    write_jpeg(tmp_path / "p.jpg", make_phantom(9))
    grey = np.asarray(Image.open(tmp_path / "p.jpg"), np.float64)
    dark = (grey / 255) ** 2 * 255
    cv2.imwrite(str(tmp_path / "p.png"), dark.astype(np.uint8))
    expected = resize(dark.astype(np.uint8), 256, 256, "area").astype(np.float64)
    np.testing.assert_array_equal(level(tmp_path / "p.png", FINAL), expected)
    assert np.abs(level(tmp_path / "p.png", AGAIN) - expected).mean() > 3


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "demo"])
def test_recipes_name_the_profile_that_made_their_data(name: str) -> None:
    made = recipe(name)
    assert isinstance(made.data, DatasetData)
    assert made.preprocessing.pictures == "final"
    assert made.preprocessing.profile == PROFILE_OF[made.data.source]
    assert profile_note(made.data.source, made.preprocessing) is None
    assert "linear" in (profile_note("nih", made.preprocessing) or "")


@pytest.mark.parametrize("side", [40, 320, 700])
def test_lanczos_is_pils(side: int) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (640, 500), np.uint8)
    expected = np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(resize(grey, side, side, "lanczos"), expected)


def test_lanczos_does_not_alias() -> None:
    """Stripes of one in three pixels, eight times smaller, are an even grey."""
    stripes = np.tile(np.array([255, 0, 0], np.uint8), (2560, 854))[:, :2560]
    assert resize(np.ascontiguousarray(stripes), 320, 320, "lanczos").std() < 2


def test_a_cache_of_an_earlier_version_keeps_its_key_unless_its_pixels_are_others() -> None:
    assert preprocessing_key(AGAIN) == {
        "profile": "mimic-cxr-jpg",
        "fit": "squash",
        "filter": "area",
        "sizes": [256],
    }
    assert "pictures" in preprocessing_key(FINAL)
    assert "lanczos" in preprocessing_key(AGAIN.model_copy(update={"filter": "lanczos"}))
