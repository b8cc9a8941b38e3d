"""JPEG files: what is decoded, exactly, and what is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cxrserve.errors import NotAChestRadiograph, TooLarge, UnreadableImage, UnsupportedImage
from cxrserve.imaging.jpeg import read_jpeg, speaks_of_damage
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.orientation import upright
from tests.imaging import makers

GREY = makers.radiograph(200, 160, bits=8)


def reference(data: bytes) -> makers.Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"optimize": True}]
)
def test_grey_is_decoded_exactly(options: dict[str, Any]) -> None:
    data = makers.jpeg(GREY, **options)
    found = read_jpeg(data, Limits())
    assert np.array_equal(found.pixels_HW, reference(data))
    assert found.about.photometric_interpretation == "MONOCHROME2"
    assert (found.about.rows, found.about.columns, found.about.bits_stored) == (200, 160, 8)
    assert found.steps == ()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
def test_colour_that_is_grey_underneath(options: dict[str, Any]) -> None:
    data = makers.jpeg(np.repeat(GREY[..., None], 3, axis=2), **options)
    found = read_jpeg(data, Limits())
    assert np.abs(found.pixels_HW.astype(int) - GREY).mean() < 2
    assert found.about.photometric_interpretation == "RGB"


def test_a_photograph_is_refused() -> None:
    y, x = np.mgrid[0:200, 0:160]
    photograph = np.stack([x, y, 255 - x // 2 - y // 2], axis=-1).astype(np.uint8)
    with pytest.raises(NotAChestRadiograph, match="coloured"):
        read_jpeg(makers.jpeg(photograph), Limits())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    """Against Pillow's own `exif_transpose`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = makers.jpeg(GREY, exif=exif.tobytes())
    found = read_jpeg(data, Limits())
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(found.pixels_HW, np.asarray(shown))
    assert (found.about.rows, found.about.columns) == found.pixels_HW.shape
    assert found.steps == (() if orientation == 1 else (f"exif-orientation-{orientation}",))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_a_meaningless_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = makers.jpeg(GREY, exif=exif.tobytes())
    assert np.array_equal(read_jpeg(data, Limits()).pixels_HW, reference(data))


XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation='6'/></x:xmpmeta>"


@pytest.mark.parametrize(
    ("marker", "body"),
    [
        (0xE1, XMP.replace(b"'", b'"')),
        (0xE1, b"Exif\0\0"),
        (0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
        (0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        (0xE1, b"Exif\0\0no TIFF"),
        (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\x06\0\0"),  # a LONG
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
        (0xEE, b"Adobe"),
        (0xE0, b"JFIF\0\x01"),
        (0xE2, b"ICC_PROFILE\0"),
    ],
)
def test_segments_that_say_nothing_or_are_malformed_turn_nothing(marker: int, body: bytes) -> None:
    data = makers.jpeg(GREY)
    segment = bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
    found = read_jpeg(data[:2] + segment + data[2:], Limits())
    assert np.array_equal(found.pixels_HW, reference(data))
    assert found.steps == ()


@pytest.mark.parametrize(
    "tiff",
    [
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
    ],
)
def test_exif_in_either_byte_order(tiff: bytes) -> None:
    data = makers.jpeg(GREY)
    body = b"Exif\0\0" + tiff
    found = read_jpeg(data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:], Limits())
    assert np.array_equal(found.pixels_HW, np.rot90(reference(data), -1))


def test_upright_undoes_a_quarter_turn() -> None:
    assert np.array_equal(upright(np.rot90(GREY, 1), 6), GREY)


@pytest.mark.parametrize("cut", [3, 20, 200, 0.3, 0.9, -10])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_file_is_refused(cut: float, progressive: bool) -> None:
    data = makers.jpeg(GREY, progressive=progressive)
    end = int(len(data) * cut) if isinstance(cut, float) else cut
    for tail in (b"", b"\xff\xd9"):  # an end marker put back makes nothing whole
        with pytest.raises(UnreadableImage):
            read_jpeg(data[:end] + tail, Limits())


@pytest.mark.parametrize("padding", [b"\0", b"\0\0", b"\xff\xff", b"\0\xff", bytes(500)])
@pytest.mark.parametrize("progressive", [False, True])
def test_padding_before_the_end_marker_is_harmless(progressive: bool, padding: bytes) -> None:
    data = makers.jpeg(GREY, progressive=progressive)
    found = read_jpeg(data[:-2] + padding + data[-2:], Limits())
    assert np.array_equal(found.pixels_HW, reference(data))


def test_bytes_before_the_end_marker_that_are_no_padding_are_refused() -> None:
    """With padding behind them, too: those are data that the decoder no longer understood."""
    data = makers.jpeg(GREY, progressive=True)
    for rest in (b"abcd", b"abcd\0\0", b"\0\0abcd", b"abcd" * 100 + bytes(50)):
        with pytest.raises(UnreadableImage):
            read_jpeg(data[:-2] + rest + data[-2:], Limits())


def test_speaks_of_damage() -> None:
    extraneous = b"Corrupt JPEG data: 2 extraneous bytes before marker 0xd9\n"
    stream = b"\xff\xd8\xff\xda data\0\0\xff\xd9"
    assert not speaks_of_damage(b"", stream)
    assert not speaks_of_damage(extraneous, stream)
    assert speaks_of_damage(extraneous.replace(b"2", b"3"), stream)
    assert speaks_of_damage(extraneous.replace(b"d9", b"d0"), stream)
    assert speaks_of_damage(extraneous, stream[:-2])
    assert speaks_of_damage(extraneous + b"Premature end of JPEG file\n", stream)


def test_cmyk_is_refused() -> None:
    cmyk = Image.new("CMYK", (160, 200))
    buffer = io.BytesIO()
    cmyk.save(buffer, "JPEG")
    with pytest.raises(UnsupportedImage, match="CMYK"):
        read_jpeg(buffer.getvalue(), Limits())


@pytest.mark.parametrize(
    ("marker", "precision", "reason"),
    [(0xC9, 8, "arithmetic"), (0xC3, 8, "lossless"), (0xC1, 12, "12 bits"), (0xF7, 8, "jpeg-ls")],
)
def test_other_processes_are_refused_by_name(marker: int, precision: int, reason: str) -> None:
    data = bytearray(makers.jpeg(GREY))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = marker, precision
    with pytest.raises(UnsupportedImage, match=reason):
        read_jpeg(bytes(data), Limits())


def test_sizes_are_checked_before_decoding() -> None:
    data = bytearray(makers.jpeg(GREY))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(TooLarge, match="65535 × 65535"):
        read_jpeg(bytes(data), Limits())
    with pytest.raises(NotAChestRadiograph, match="thumbnail"):
        read_jpeg(makers.jpeg(GREY[:40]), Limits())


def test_large_profiles_and_texts_are_passed_over() -> None:
    noise = np.random.default_rng(0).bytes(1_000_000)
    data = makers.jpeg(GREY, icc_profile=noise, comment=noise[:60_000])
    assert np.array_equal(read_jpeg(data, Limits()).pixels_HW, reference(data))
