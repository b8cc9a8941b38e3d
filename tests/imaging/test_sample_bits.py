"""Bits of a sample: junk above Bits Stored, left-justified values, a false sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom.read import read_dicom
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.radiograph import Radiograph
from tests.imaging import makers

FILM = makers.radiograph(240, 200)


def read(pixels: np.ndarray[Any, Any], **elements: Any) -> Radiograph:
    return read_dicom(makers.dicom(pixels, **elements), Limits())


def codes(radiograph: Radiograph) -> list[str]:
    return [warning.code for warning in radiograph.warnings]


def _junk(bits: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).integers(0, 1 << (16 - bits), FILM.shape).astype(np.uint16) << bits


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("signed", [False, True])
def test_unused_bits_are_ignored(bits: int, signed: bool) -> None:
    film = makers.radiograph(240, 200, bits=bits, signed=signed)
    mask = np.uint16((1 << bits) - 1)
    dirty = (film.view(np.uint16) & mask) | _junk(bits)
    found = read(dirty.view(film.dtype), bits=bits)
    assert np.array_equal(found.pixels_HW, film)
    assert found.steps == ("mask-unused-bits",)


def test_an_overlay_in_unused_bits_that_nothing_declares_is_ignored() -> None:
    overlay = np.zeros(FILM.shape, np.uint16)
    overlay[20:60, 30:90] = 1 << 12
    assert np.array_equal(read(FILM | overlay).pixels_HW, FILM)


@pytest.mark.parametrize("declared", [8, 10])
def test_too_small_bits_stored_is_refused_and_not_taken_for_junk(declared: int) -> None:
    with pytest.raises(UnreadableImage, match=f"0 to 4095, but BitsStored {declared} allows"):
        read(FILM, BitsStored=declared, HighBit=declared - 1)


@pytest.mark.parametrize("high_bit", [11, 15])
def test_left_justified_values(high_bit: int) -> None:
    """With HighBit naming them, and without."""
    found = read(FILM << 4, HighBit=high_bit)
    assert np.array_equal(found.pixels_HW, FILM)
    assert found.steps == ("shift-right-4",)
    assert codes(found) == ["left-justified"]


def test_a_high_bit_that_is_not_true_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="HighBit is 15, but BitsStored 12 and the values ask for 11"):
        read(FILM, HighBit=15)


@pytest.mark.parametrize("bits", [12, 14, 16])
def test_unsigned_values_called_signed(bits: int) -> None:
    film = makers.radiograph(240, 200, bits=bits)
    found = read(film, bits=bits, PixelRepresentation=1)
    assert np.array_equal(found.pixels_HW, film)
    assert found.steps == ("read-as-unsigned",)
    assert codes(found) == ["pixel-representation"]


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_values_called_unsigned(bits: int) -> None:
    film = makers.radiograph(240, 200, bits=bits, signed=True)
    stored = film.view(np.uint16) & np.uint16((1 << bits) - 1)
    found = read(stored, bits=bits)
    assert np.array_equal(found.pixels_HW, film)
    assert codes(found) == ["pixel-representation"]


@pytest.mark.parametrize("signed", [False, True])
def test_sound_files_are_read_as_they_say(signed: bool) -> None:
    for bits in (12, 16):
        film = makers.radiograph(240, 200, bits=bits, signed=signed)
        found = read(film, bits=bits)
        assert np.array_equal(found.pixels_HW, film)
        assert (found.steps, found.warnings) == ((), ())


def test_a_marker_at_full_scale_is_no_false_sign() -> None:
    marked = FILM // 4
    marked[10:40, 10:60:2] = 4095
    marked[60:90, 10:60:2] = 0
    found = read(marked)
    assert np.array_equal(found.pixels_HW, marked)
    assert found.warnings == ()
