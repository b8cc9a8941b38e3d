"""Each profile, pixel for pixel, against the published expressions, and pinned for ever by hashes.

A change here changes what the networks see. It is a new profile, never a new hash.
"""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
import pytest

from cxrserve.errors import NotAChestRadiograph
from cxrserve.imaging.profiles import PROFILES, apply_profile
from cxrserve.imaging.radiograph import ImageAbout, Radiograph
from cxrserve.imaging.types import ProfileName

Pixels = np.ndarray[Any, Any]


def ramp(bits: int, *, offset: int = 0) -> Pixels:
    """A pattern of whole numbers only, so that no platform's floating point enters the pins."""
    y, x = np.mgrid[0:300, 0:240].astype(np.int64)
    values = (x * x * 3 + y * 17 + (x * 7919 + y * 104729) % 61 * 4) % (2**bits - offset)
    return np.asarray((values + offset).astype(np.uint8 if bits == 8 else np.uint16))


IMAGES: dict[str, tuple[Pixels, str]] = {
    "8-bit": (ramp(8), "MONOCHROME2"),
    "12-bit": (ramp(12, offset=100), "MONOCHROME2"),
    "12-bit-monochrome1": (ramp(12, offset=100), "MONOCHROME1"),
    "16-bit": (ramp(16), "MONOCHROME2"),
    "signed": (ramp(12).astype(np.int16) - 2048, "MONOCHROME2"),
    "signed-monochrome1": (ramp(12).astype(np.int16) - 2048, "MONOCHROME1"),
}


def mimic_cxr_jpg(x: Pixels, photometric: str) -> Pixels:
    """As MIT-LCP/mimic-cxr issue 16 has it, but for the JPEG file it ends in."""
    image = x.astype(np.float64)
    image -= image.min()
    image /= image.max()
    image *= 255
    grey = image.astype(np.uint8)
    if photometric == "MONOCHROME1":
        grey = 255 - grey
    return np.asarray(cv2.equalizeHist(grey))


def chexpert(x: Pixels, photometric: str) -> Pixels:
    """As stanfordmlgroup/chexpert-labeler issue 11 has it; signed images are lifted to 0 first."""
    image = x.astype(np.float64)
    image -= min(image.min(), 0)
    grey = cv2.convertScaleAbs(image, alpha=255.0 / image.max())
    if photometric == "MONOCHROME1":
        grey = cv2.bitwise_not(grey)
    return np.asarray(cv2.equalizeHist(grey))


def clahe(x: Pixels, photometric: str) -> Pixels:
    """As the paper words it, with OpenCV's usual parameters."""
    return np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(linear(x, photometric)))


def linear(x: Pixels, photometric: str) -> Pixels:
    """The full range to 255, truncated."""
    image = x.astype(np.float64) - x.min()
    grey = (image / image.max() * 255).astype(np.uint8)
    return np.asarray(255 - grey if photometric == "MONOCHROME1" else grey)


def torchxrayvision(x: Pixels, photometric: str) -> Pixels:
    """As utils.read_xray_dcm and normalize have it, to −1024 … 1024, and from there to 8 bits.

    Where the image has larger values than its bits allow, they raise an error; here the bits are corrected.
    """
    image = x.astype(np.float32) - min(int(x.min()), 0)
    most = 2 ** max(12, int(image.max()).bit_length()) - 1
    if photometric == "MONOCHROME1":
        image = most - image
    image = (2 * (image / most) - 1.0) * 1024
    return np.asarray(np.rint((image / 1024 + 1) / 2 * 255).astype(np.uint8))


PUBLISHED = {
    "mimic-cxr-jpg": mimic_cxr_jpg,
    "chexpert": chexpert,
    "clahe": clahe,
    "linear": linear,
    "torchxrayvision": torchxrayvision,
}
PINNED: dict[str, str] = {
    "mimic-cxr-jpg 8-bit": "fa76800b73e5c7ce",
    "mimic-cxr-jpg 12-bit": "16619d0e56d3c264",
    "mimic-cxr-jpg 12-bit-monochrome1": "2dc8dc3abcffcc78",
    "mimic-cxr-jpg 16-bit": "74235b33bcae02e8",
    "mimic-cxr-jpg signed": "f616eb5b083517a1",
    "mimic-cxr-jpg signed-monochrome1": "9fa2be6b7ef60d01",
    "chexpert 8-bit": "fa76800b73e5c7ce",
    "chexpert 12-bit": "053a35bb688be437",
    "chexpert 12-bit-monochrome1": "2f88ecf568e2cb60",
    "chexpert 16-bit": "8d86cccd3474054b",
    "chexpert signed": "451868cf5fc2dc69",
    "chexpert signed-monochrome1": "79f0543a8ee29651",
    "clahe 8-bit": "b02a6f66f6bd7241",
    "clahe 12-bit": "9315dbb18ed768c0",
    "clahe 12-bit-monochrome1": "14360e76358d598f",
    "clahe 16-bit": "00f331232c5e3099",
    "clahe signed": "334213a1dfeb3cf9",
    "clahe signed-monochrome1": "c39bf436a19a804b",
    "linear 8-bit": "fa76800b73e5c7ce",
    "linear 12-bit": "c09e54a2db93a707",
    "linear 12-bit-monochrome1": "e01cd6beea6b9599",
    "linear 16-bit": "d0081bacdc18e190",
    "linear signed": "c31e15aa819b30a2",
    "linear signed-monochrome1": "b885a0e57b6aea83",
    "torchxrayvision 8-bit": "d786543898b2c06f",
    "torchxrayvision 12-bit": "bbaecafb5082e3b7",
    "torchxrayvision 12-bit-monochrome1": "f190069adab44926",
    "torchxrayvision 16-bit": "ecade0a070d2241b",
    "torchxrayvision signed": "f49ec66bb5ad8080",
    "torchxrayvision signed-monochrome1": "dc57f05e3049f65c",
}


def radiograph(name: str) -> Radiograph:
    pixels, photometric = IMAGES[name]
    about = ImageAbout(
        format="dicom",
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        photometric_interpretation=photometric,
        bits_stored=12,
    )
    return Radiograph(pixels_HW=pixels, about=about)


def sha256(array: Pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_its_published_expression(profile: ProfileName, image: str) -> None:
    grey_HW, _ = apply_profile(radiograph(image), profile)
    assert grey_HW.dtype == np.uint8
    assert grey_HW.flags.c_contiguous
    assert np.array_equal(grey_HW, PUBLISHED[profile](*IMAGES[image]))


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_never_changes(profile: ProfileName, image: str) -> None:
    grey_HW, _ = apply_profile(radiograph(image), profile)
    assert sha256(grey_HW) == PINNED[f"{profile} {image}"]


def test_the_steps_are_named() -> None:
    assert apply_profile(radiograph("12-bit-monochrome1"), "mimic-cxr-jpg")[1] == (
        "subtract-minimum",
        "divide-by-maximum-truncate-to-255",
        "invert-monochrome1",
        "equalize-histogram",
    )
    assert apply_profile(radiograph("12-bit"), "chexpert")[1] == (
        "divide-by-maximum-round-to-255",
        "equalize-histogram",
    )
    assert apply_profile(radiograph("signed"), "chexpert")[1][0] == "subtract-minimum"
    assert apply_profile(radiograph("8-bit"), "clahe")[1][-1] == "clahe-clip-2-tiles-8x8"
    assert apply_profile(radiograph("12-bit-monochrome1"), "torchxrayvision")[1] == (
        "divide-by-full-range-round-to-255",
        "invert-monochrome1",
    )
    assert apply_profile(radiograph("8-bit"), "linear")[1] == (
        "subtract-minimum",
        "divide-by-maximum-truncate-to-255",
    )


@pytest.mark.parametrize("value", [0, 255, 4095])
@pytest.mark.parametrize("profile", PROFILES)
def test_an_even_image_is_refused(profile: ProfileName, value: int) -> None:
    even = radiograph("12-bit")
    flat = Radiograph(pixels_HW=np.full((300, 240), value, np.uint16), about=even.about)
    with pytest.raises(NotAChestRadiograph, match=f"value {value}"):
        apply_profile(flat, profile)
