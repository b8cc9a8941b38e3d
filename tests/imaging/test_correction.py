"""A corrected film has exactly the levels of the upright one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrserve.imaging.correction import Correction, corrected
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.imaging.profiles import PROFILES
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.radiograph import ImageAbout, Radiograph
from cxrserve.imaging.types import ProfileName

FITS = ("squash", "letterbox", "centre-crop")


def png(pixels_HW: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels_HW).save(stream, "PNG")
    return stream.getvalue()


def film() -> NDArray[np.uint8]:
    """A picture of no symmetry, neither square nor of the full grey range."""
    rows, columns = np.mgrid[0:300, 0:410]
    waves = 90 + 60 * np.sin(rows / 37) + 50 * np.cos(columns / 53) + columns / 16
    noise = np.random.default_rng(5).normal(0, 2, (300, 410))
    return np.asarray(np.clip(waves + noise, 3, 240), np.uint8)


def prepared(
    pixels_HW: NDArray[np.uint8], preprocessing: Preprocessing, correction: Correction
) -> PreparedImage:
    return prepare(png(pixels_HW), preprocessing, Limits(), preview_side=64, correction=correction)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("inverted", [False, True])
def test_levels_are_those_of_the_upright_film(
    profile: ProfileName, fit: str, quarters: int, inverted: bool
) -> None:
    preprocessing = Preprocessing.model_validate({"profile": profile, "fit": fit, "sizes": (64, 128)})
    upright = prepared(film(), preprocessing, Correction())
    stored_HW = np.ascontiguousarray(np.rot90(255 - film() if inverted else film(), quarters))
    image = prepared(stored_HW, preprocessing, Correction(quarters=quarters, inverted=inverted))
    for size, level_SS in upright.levels.items():
        assert np.array_equal(image.levels[size], level_SS)
    assert np.array_equal(image.check_SS, upright.check_SS)
    assert image.quarters == quarters
    assert (image.about.rows, image.about.columns) == stored_HW.shape
    assert image.preview_HW is not None
    assert upright.preview_HW is not None
    assert np.abs(image.preview_HW.astype(int) - np.rot90(upright.preview_HW, quarters)).max() <= 1


def test_a_false_monochrome1_is_believed_no_more() -> None:
    about = ImageAbout(
        format="dicom", rows=2, columns=2, photometric_interpretation="MONOCHROME1", bits_stored=12
    )
    image = Radiograph(pixels_HW=np.array([[1, 2], [3, 4]], np.uint16), about=about)
    upright, steps = corrected(image, Correction(inverted=True))
    assert not upright.white_is_low
    assert upright.pixels_HW is image.pixels_HW
    assert steps == ("invert-by-film-check",)


def test_values_beyond_their_bits_are_mirrored_in_their_own_range() -> None:
    about = ImageAbout(
        format="dicom", rows=1, columns=3, photometric_interpretation="MONOCHROME2", bits_stored=8
    )
    image = Radiograph(pixels_HW=np.array([[-5, 0, 20]], np.int16), about=about)
    upright, _ = corrected(image, Correction(inverted=True))
    assert upright.pixels_HW.tolist() == [[20, 15, -5]]
    assert upright.pixels_HW.dtype == np.int16
