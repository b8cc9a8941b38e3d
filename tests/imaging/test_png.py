"""PNG files: every colour type exactly, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrserve.errors import NotAChestRadiograph, TooLarge, UnreadableImage, UnsupportedImage
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.png import read_png
from tests.imaging import makers

GREY = makers.radiograph(120, 100, bits=8)
DEEP = makers.radiograph(120, 100, bits=16)


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def deep(samples: makers.Pixels) -> bytes:
    """16 bits of several channels, which Pillow does not write."""
    return bytes(cv2.imencode(".png", samples)[1])


def raw_png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        makers.png_chunk(kind, data) for kind, data in ((b"IHDR", header), *chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_grey_8_and_16_bit() -> None:
    for pixels, bits in ((GREY, 8), (DEEP, 16)):
        found = read_png(makers.png(pixels), Limits())
        assert np.array_equal(found.pixels_HW, pixels)
        assert found.pixels_HW.dtype == pixels.dtype
        assert (found.about.bits_stored, found.about.photometric_interpretation) == (bits, "MONOCHROME2")
        assert found.steps == ()


def test_interlaced() -> None:
    """Adam7, clause 8: by hand, for no encoder at hand writes it."""
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    lines = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in GREY[y::dy, x::dx])
    data = raw_png(struct.pack(">IIBBBBB", 100, 120, 8, 0, 0, 0, 1), (b"IDAT", zlib.compress(lines)))
    assert np.array_equal(read_png(data, Limits()).pixels_HW, GREY)


def test_colours_that_are_grey_underneath() -> None:
    rgb = np.repeat(GREY[..., None], 3, axis=2)
    for data in (
        makers.png(rgb),
        encoded(Image.fromarray(GREY).convert("P")),
        encoded(Image.fromarray(rgb).quantize(256, dither=Image.Dither.NONE)),
    ):
        assert np.abs(read_png(data, Limits()).pixels_HW.astype(int) - GREY).max() <= 3


def test_deep_colour_keeps_its_16_bits() -> None:
    rgb = np.repeat(DEEP[..., None], 3, axis=2)
    rgba = np.concatenate([rgb, np.full_like(rgb[..., :1], 65535)], axis=2)
    for samples in (rgb, rgba):
        found = read_png(deep(samples), Limits())
        assert found.pixels_HW.dtype == np.uint16
        assert np.array_equal(found.pixels_HW, DEEP)


def test_deep_colour_that_is_damaged_is_refused() -> None:
    data = deep(np.repeat(DEEP[..., None], 3, axis=2))
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    with pytest.raises(UnreadableImage):
        read_png(bytes(broken), Limits())


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha(mode: str) -> None:
    opaque = read_png(encoded(Image.fromarray(GREY).convert(mode)), Limits())
    assert np.array_equal(opaque.pixels_HW, GREY)
    assert opaque.steps[0] == "drop-opaque-alpha"
    assert opaque.warnings == ()
    image = Image.fromarray(GREY).convert(mode)
    image.putalpha(
        Image.fromarray(np.where(np.arange(100) < 50, 255, 0).astype(np.uint8)[None].repeat(120, 0))
    )
    clear = read_png(encoded(image), Limits())
    assert np.array_equal(clear.pixels_HW[:, :50], GREY[:, :50])
    assert not clear.pixels_HW[:, 50:].any()
    assert clear.steps[0] == "composite-alpha-on-black"
    assert "transparent" in clear.warnings[0].message


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    with pytest.raises(UnsupportedImage, match="2 frames"):
        read_png(encoded(frames[0], save_all=True, append_images=frames[1:]), Limits())


def test_an_animation_of_one_frame_is_a_still_image() -> None:
    header = struct.pack(">IIBBBBB", 100, 120, 8, 0, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY))
    control = struct.pack(">IIIIIHHBB", 0, 100, 120, 0, 0, 1, 1, 0, 0)
    one = (b"acTL", struct.pack(">II", 1, 0))
    still = raw_png(header, one, (b"fcTL", control), (b"IDAT", lines))
    assert np.array_equal(read_png(still, Limits()).pixels_HW, GREY)
    beside = raw_png(header, one, (b"IDAT", lines), (b"fcTL", control), (b"fdAT", b"\0\0\0\x01" + lines))
    with pytest.raises(UnsupportedImage, match="animation"):
        read_png(beside, Limits())


def test_photographs_and_line_drawings_are_refused() -> None:
    y, x = np.mgrid[0:120, 0:100]
    with pytest.raises(NotAChestRadiograph, match="coloured"):
        read_png(makers.png(np.stack([x, y, 200 - x], axis=-1).astype(np.uint8)), Limits())
    with pytest.raises(UnsupportedImage, match="1 bits"):
        read_png(encoded(Image.fromarray(GREY > 128)), Limits())


@pytest.mark.parametrize("cut", [8, 20, 33, 60, 0.5, -1, -12])
def test_truncated_files_are_refused(cut: float) -> None:
    data = makers.png(GREY)
    with pytest.raises(UnreadableImage):
        read_png(data[: int(len(data) * cut) if isinstance(cut, float) else int(cut)], Limits())


def test_pixel_data_that_end_early_are_refused() -> None:
    header = struct.pack(">IIBBBBB", 100, 120, 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in GREY)
    for data in (
        zlib.compress(lines[: len(lines) // 2]),
        zlib.compress(lines[:-1]),
        zlib.compress(lines)[:-4],
    ):
        with pytest.raises(UnreadableImage):
            read_png(raw_png(header, (b"IDAT", data)), Limits())


def test_profiles_and_texts_are_never_unfolded() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY))
    data = raw_png(
        struct.pack(">IIBBBBB", 100, 120, 8, 0, 0, 0, 0),
        (b"iCCP", b"icc\0\0" + bomb),
        (b"zTXt", b"Comment\0\0" + bomb),
        (b"tEXt", b"Comment\0" + bytes(5_000_000)),
        (b"IDAT", lines),
    )
    assert np.array_equal(read_png(data, Limits()).pixels_HW, GREY)


def test_sizes_are_checked_before_decoding() -> None:
    with pytest.raises(TooLarge, match="13000 × 13000"):
        read_png(raw_png(struct.pack(">IIBBBBB", 13000, 13000, 8, 0, 0, 0, 0), (b"IDAT", b"")), Limits())
    with pytest.raises(UnreadableImage, match="colour type is 5"):
        read_png(raw_png(struct.pack(">IIBBBBB", 100, 100, 8, 5, 0, 0, 0)), Limits())
    with pytest.raises(UnreadableImage, match="0 × 100"):
        read_png(raw_png(struct.pack(">IIBBBBB", 100, 0, 8, 0, 0, 0, 0)), Limits())
