"""From bytes to levels, preview, steps, warnings and times."""

from __future__ import annotations

import numpy as np
import pytest

from cxrserve.errors import NotAChestRadiograph, RequestError, UnsupportedFormat
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare, read_radiograph
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing, build_pyramid, shape_within
from cxrserve.imaging.types import Fit, ProfileName
from tests.imaging import makers

PREPROCESSING = Preprocessing(profile="mimic-cxr-jpg", sizes=(64, 128))


def test_everything_of_one_image() -> None:
    data = makers.dicom(makers.radiograph(), photometric="MONOCHROME1")
    image = prepare(data, PREPROCESSING, Limits(), preview_side=60)
    grey_HW, _ = apply_profile(read_radiograph(data, Limits()), "mimic-cxr-jpg")
    expected = build_pyramid(grey_HW, PREPROCESSING)
    assert list(image.levels) == [64, 128]
    assert all(np.array_equal(image.levels[size], expected[size]) for size in expected)
    assert image.applied == (
        "subtract-minimum",
        "divide-by-maximum-truncate-to-255",
        "invert-monochrome1",
        "equalize-histogram",
        "squash-area-120x100-to-128x128",
        "mean-2x2-to-64",
    )
    assert image.preview_HW is not None
    assert image.preview_HW.shape == (60, 50)
    assert set(image.timing_ms) == {"decode", "pyramid"}
    assert all(time_ms > 0 for time_ms in image.timing_ms.values())


def test_a_small_radiograph_is_enlarged_with_a_warning() -> None:
    image = prepare(makers.dicom(makers.radiograph()), PREPROCESSING, Limits())
    assert "120 × 100" in image.warnings[0].message
    assert "128" in image.warnings[0].message
    assert "64" not in image.warnings[0].message
    assert image.preview_HW is None
    assert prepare(makers.dicom(makers.radiograph(130, 100)), PREPROCESSING, Limits()).warnings == ()


@pytest.mark.parametrize("profile", ["mimic-cxr-jpg", "linear"])
def test_polarity_does_not_change_the_answer(profile: ProfileName) -> None:
    """MONOCHROME1 with inverted values is the same picture, up to what truncation does to it."""
    pixels = makers.radiograph()
    preprocessing = Preprocessing(profile=profile, sizes=(128,))
    bright = prepare(makers.dicom(pixels), preprocessing, Limits()).levels[128]
    dark = prepare(makers.dicom(4095 - pixels, photometric="MONOCHROME1"), preprocessing, Limits()).levels[
        128
    ]
    assert np.abs(bright.astype(int) - dark).max() <= 3


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("sizes", [(16,), (64,), (256, 512), (512,)])
def test_content_is_judged_alike_whatever_the_sizes_are(fit: Fit, sizes: tuple[int, ...]) -> None:
    """A body is no noise at 16 pixels a side, and noise is no body when it is enlarged."""
    preprocessing = Preprocessing(profile="linear", fit=fit, sizes=sizes)
    y, x = np.mgrid[0:600, 0:500]
    ribs = (128 + 60 * np.sin(y / 9) + 40 * np.sin(x / 40)).astype(np.uint8)
    prepare(makers.png(ribs), preprocessing, Limits())
    for side in (64, 200, 700):
        noise = np.random.default_rng(0).integers(0, 256, (side, side)).astype(np.uint8)
        with pytest.raises(NotAChestRadiograph, match="hardly alike"):
            prepare(makers.png(noise), preprocessing, Limits())


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [
        ((3056, 2500), 1024, (1024, 838)),
        ((2500, 3056), 1024, (838, 1024)),
        ((100, 80), 1024, (100, 80)),
        ((5000, 1), 10, (10, 1)),
    ],
)
def test_previews_keep_the_aspect(shape: tuple[int, int], side: int, expected: tuple[int, int]) -> None:
    assert shape_within(*shape, side) == expected


def test_what_is_no_image() -> None:
    with pytest.raises(RequestError):
        prepare(b"", PREPROCESSING, Limits())
    with pytest.raises(UnsupportedFormat):
        prepare(b"GIF89a", PREPROCESSING, Limits())
