"""Doubts about a picture: borders, empty parts, two images in one, a wasted grey range, a tint."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from cxrserve.errors import NotAChestRadiograph
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare, read_radiograph
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing
from tests.imaging import makers

FILM: Final = makers.radiograph(480, 400)
GREY: Final = makers.radiograph(480, 400, bits=8)


def codes(data: bytes, profile: Any = "mimic-cxr-jpg") -> list[str]:
    image = prepare(data, Preprocessing(profile=profile, sizes=(64,)), Limits())
    return [warning.code for warning in image.warnings]


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_plain_radiograph_is_quiet(quality: int) -> None:
    assert codes(png(GREY)) == []
    assert codes(makers.dicom(FILM)) == []
    assert codes(makers.jpeg(GREY, quality=quality)) == []


@pytest.mark.parametrize("grey", [0, 120, 255])
@pytest.mark.parametrize("width", [60, 200])
def test_a_border(grey: int, width: int) -> None:
    assert codes(png(np.pad(GREY, width, constant_values=grey))) == ["border"]


def test_a_border_with_labels_in_it() -> None:
    figure = np.pad(GREY, 150, constant_values=255)
    figure[60:75, 200:290:2] = 0  # a title
    figure[150:600:60, 100:130] = 0  # ticks
    assert codes(png(figure)) == ["border"]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
@pytest.mark.parametrize("grey", [0, 128])
def test_a_half_arrived_picture(share: float, grey: int) -> None:
    partial = GREY.copy()
    partial[round(480 * (1 - share)) :] = grey
    assert "empty-part" in codes(png(partial))
    assert "empty-part" in codes(makers.jpeg(partial, quality=80))


def test_a_picture_that_repeats_its_last_row() -> None:
    partial = GREY.copy()
    partial[300:] = partial[300]
    assert "empty-part" in codes(png(partial))


@pytest.mark.parametrize("axis", [0, 1])
def test_two_images_in_one(axis: int) -> None:
    wide = np.concatenate([GREY, 255 - GREY[:, ::-1]], axis)
    assert {"unusual-shape"} <= set(codes(png(wide)))
    gap = np.zeros((480, 12) if axis else (12, 400), np.uint8)
    halves = [GREY[:, ::2], gap, GREY[:, 1::2]] if axis else [GREY[::2], gap, GREY[1::2]]
    assert codes(png(np.concatenate(halves, axis))) == ["several-images"]


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_gap_of_any_grey_is_seen(axis: int, grey: int, inverted: bool) -> None:
    gap = np.full((480, 12) if axis else (12, 400), grey * 16, np.uint16)
    halves = [FILM[:, ::2], gap, FILM[:, 1::2]] if axis else [FILM[::2], gap, FILM[1::2]]
    both = np.concatenate(halves, axis)
    data = makers.dicom(4095 - both, photometric="MONOCHROME1") if inverted else makers.dicom(both)
    assert "several-images" in codes(data)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_mediastinum_that_is_white_all_the_way_down_is_no_gap(inverted: bool) -> None:
    across = np.arange(400)
    white = 4095 * np.exp(-(((across - 200) / 40.0) ** 8))  # soft edges, as a body has them
    film = np.maximum(FILM, white[None]).astype(np.uint16)
    data = makers.dicom(4095 - film, photometric="MONOCHROME1") if inverted else makers.dicom(film)
    assert codes(data) == []


def test_one_hot_pixel() -> None:
    hot = FILM.copy()
    hot[200, 200] = 65535
    assert codes(makers.dicom(hot, bits=16)) == ["grey-range-wasted"]


def test_a_marker_at_full_scale_and_padding() -> None:
    marked = FILM.copy()
    marked[20:60, 20:60] = 65535
    assert "grey-range-wasted" in codes(makers.dicom(marked, bits=16))
    padded = FILM + np.uint16(60000)
    padded[:, :30] = 0
    assert "grey-range-wasted" in codes(makers.dicom(padded, bits=16))


@pytest.mark.parametrize("profile", ["torchxrayvision", "mimic-cxr-jpg"])
def test_twelve_bits_in_sixteen(profile: Any) -> None:
    """The depth of a PNG is found; DICOM declares its own, which is believed, with a warning."""
    found = apply_profile(read_radiograph(png(FILM), Limits()), profile)[0]
    plain = apply_profile(read_radiograph(png(GREY), Limits()), profile)[0]
    assert abs(float(found.mean()) - float(plain.mean())) < 2
    assert codes(makers.dicom(FILM, bits=16), profile) == (
        ["dark-range"] if profile == "torchxrayvision" else []
    )
    assert read_radiograph(png(FILM), Limits()).about.bits_stored == 12


def test_a_tint() -> None:
    lamp = (GREY[..., None] * np.array([1.0, 0.95, 0.8])).astype(np.uint8)
    assert codes(png(lamp)) == ["tinted"]
    grey = np.repeat(GREY[..., None], 3, axis=2)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=60)
    assert codes(file.getvalue()) == []


@pytest.mark.parametrize("axis", [0, 1])
def test_a_gradient_is_refused(axis: int) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 300).astype(np.uint8), (300, 300))
    with pytest.raises(NotAChestRadiograph, match="gradient"):
        codes(png(np.ascontiguousarray(ramp.T if axis else ramp)))
