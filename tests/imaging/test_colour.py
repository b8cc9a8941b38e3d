"""Grey underneath, whatever the colours say; real colour is refused."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from cxrserve.errors import NotAChestRadiograph, UnreadableImage
from cxrserve.imaging.dicom.read import read_dicom
from cxrserve.imaging.grey import to_grey
from cxrserve.imaging.jpeg import read_jpeg
from cxrserve.imaging.limits import Limits
from tests.imaging import makers

GREY = makers.radiograph(bits=8)
RGB = np.repeat(GREY[..., None], 3, axis=2)
YBR = np.stack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)], axis=-1)


def photograph() -> makers.Pixels:
    """A picture with colours all over."""
    y, x = np.mgrid[0:120, 0:100]
    return np.stack([x * 2, y * 2, 255 - x - y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_with_equal_channels(planar: int) -> None:
    pixels = np.moveaxis(RGB, -1, 0) if planar else RGB
    elements: dict[str, Any] = {"PlanarConfiguration": planar, "PixelData": pixels.tobytes()}
    found = read_dicom(makers.dicom(RGB, bits=8, photometric="RGB", **elements), Limits())
    assert np.array_equal(found.pixels_HW, GREY)
    assert found.steps == ("equal-channels-to-grey",)
    assert not found.white_is_low


@pytest.mark.parametrize("planar", [0, 1])
def test_a_false_planar_configuration_is_refused(planar: int) -> None:
    pixels = RGB if planar else np.moveaxis(RGB, -1, 0)
    elements: dict[str, Any] = {"PlanarConfiguration": planar, "PixelData": pixels.tobytes()}
    with pytest.raises(UnreadableImage, match=f"PlanarConfiguration is {planar}"):
        read_dicom(makers.dicom(RGB, bits=8, photometric="RGB", **elements), Limits())


def test_ybr_full_and_422() -> None:
    full = read_dicom(makers.dicom(YBR, bits=8, photometric="YBR_FULL"), Limits())
    assert np.array_equal(full.pixels_HW, GREY)
    pairs = np.empty((120, 50, 4), np.uint8)
    pairs[..., :2], pairs[..., 2:] = GREY.reshape(120, 50, 2), 128
    half = read_dicom(
        makers.dicom(YBR, bits=8, photometric="YBR_FULL_422", PixelData=pairs.tobytes()), Limits()
    )
    assert np.array_equal(half.pixels_HW, GREY)


@pytest.mark.parametrize(
    ("syntax", "photometric"),
    [
        (JPEG2000Lossless, "RGB"),
        (JPEG2000Lossless, "YBR_RCT"),
        (JPEGLSLossless, "RGB"),
        (RLELossless, "RGB"),
        (JPEGLosslessSV1, "RGB"),
    ],
)
def test_colour_grey_underneath_compressed_without_loss(syntax: str, photometric: str) -> None:
    found = read_dicom(makers.dicom(RGB, syntax=syntax, bits=8, photometric=photometric), Limits())
    assert np.array_equal(found.pixels_HW, GREY)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEGLosslessSV1])
def test_ybr_full_compressed_without_loss(syntax: str) -> None:
    found = read_dicom(makers.dicom(YBR, syntax=syntax, bits=8, photometric="YBR_FULL"), Limits())
    assert np.array_equal(found.pixels_HW, GREY)


def test_ybr_of_jpeg_2000_elsewhere_is_a_wrong_header() -> None:
    with pytest.raises(UnreadableImage, match="YBR_ICT is of JPEG 2000 only"):
        read_dicom(makers.dicom(YBR, bits=8, photometric="YBR_ICT"), Limits())


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
def test_jpeg_in_colour_grey_underneath(photometric: str) -> None:
    """With the components stored as RGB, and as YCbCr."""
    stream = makers.jpeg(RGB, **({"keep_rgb": True} if photometric == "RGB" else {}))
    data = makers.encapsulated(RGB, [stream], syntax=JPEGBaseline8Bit, bits=8, photometric=photometric)
    found = read_dicom(data, Limits()).pixels_HW
    assert np.abs(found.astype(int) - GREY).mean() < 2


def test_jpeg_components_that_are_rgb_without_saying_so() -> None:
    """No Adobe marker: a decoder would take them for YCbCr, but DICOM says RGB."""
    stream = makers.jpeg(np.asarray(RGB), keep_rgb=True)
    while (at := stream.find(b"\xff\xee")) >= 0:
        stream = stream[:at] + stream[at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big") :]
    stream = stream.replace(b"R\x11\x00G\x11\x00B\x11\x00", b"\x01\x11\x00\x02\x11\x00\x03\x11\x00")
    stream = stream.replace(b"\x03R\x00G\x00B\x00", b"\x03\x01\x00\x02\x00\x03\x00")
    data = makers.encapsulated(RGB, [stream], syntax=JPEGBaseline8Bit, bits=8, photometric="RGB")
    found = read_dicom(data, Limits()).pixels_HW
    assert np.abs(found.astype(int) - GREY).mean() < 2


def test_jpeg_that_is_jfif_is_ycbcr_whatever_the_header_says() -> None:
    """Exports of a screen: a JFIF stream in YCbCr under Photometric Interpretation RGB."""
    stream = makers.jpeg(np.asarray(RGB))
    assert b"JFIF" in stream
    data = makers.encapsulated(RGB, [stream], syntax=JPEGBaseline8Bit, bits=8, photometric="RGB")
    found = read_dicom(data, Limits()).pixels_HW
    assert np.abs(found.astype(int) - GREY).mean() < 2


def test_grey_under_a_false_colour_model_is_read_with_a_warning() -> None:
    """Grey in YCbCr under RGB, and the other way round."""
    for pixels, photometric in ((YBR, "RGB"), (RGB, "YBR_FULL")):
        found = read_dicom(makers.dicom(pixels, bits=8, photometric=photometric), Limits())
        assert [warning.code for warning in found.warnings] == ["colour-label"]
        assert np.abs(found.pixels_HW.astype(int) - GREY).mean() < 1


def palette(first: int = 0, entries: int = 256, *, coloured: bool = False) -> dict[str, Any]:
    """A ramp of `entries` from index `first`."""
    ramp = np.linspace(0, 65535, entries).astype("<u2").tobytes()
    found: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        found[f"{colour}PaletteColorLookupTableDescriptor"] = [entries, first, 16]
        flat = coloured and colour != "Red"
        found[f"{colour}PaletteColorLookupTableData"] = bytes(len(ramp)) if flat else ramp
    return found


def test_palette_grey_underneath() -> None:
    found = read_dicom(makers.dicom(GREY, bits=8, photometric="PALETTE COLOR", **palette()), Limits())
    assert np.array_equal(found.pixels_HW, np.linspace(0, 65535, 256).astype(np.uint16)[GREY])


def test_palette_index_beyond_the_table_takes_the_last_entry() -> None:
    found = read_dicom(
        makers.dicom(GREY, bits=8, photometric="PALETTE COLOR", **palette(entries=100)), Limits()
    )
    assert found.pixels_HW[GREY >= 99].min() == 65535


def test_palette_without_tables_is_refused() -> None:
    with pytest.raises(UnreadableImage):
        read_dicom(makers.dicom(GREY, bits=8, photometric="PALETTE COLOR"), Limits())


def test_real_colour_is_refused() -> None:
    with pytest.raises(NotAChestRadiograph, match="coloured"):
        read_dicom(makers.dicom(photograph(), bits=8, photometric="RGB"), Limits())
    with pytest.raises(NotAChestRadiograph, match="coloured"):
        read_dicom(
            makers.dicom(GREY, bits=8, photometric="PALETTE COLOR", **palette(coloured=True)), Limits()
        )


def test_a_small_coloured_marker_is_taken() -> None:
    marked = RGB.copy()
    marked[5:12, 5:12] = (255, 0, 0)
    grey, steps, _ = to_grey(marked)
    assert steps == ("luma-601-to-grey",)
    assert np.array_equal(grey[20:], GREY[20:])


def tinted(*tint: float) -> makers.Pixels:
    pixels: makers.Pixels = (makers.radiograph(400, 320, bits=8)[..., None] * np.array(tint)).astype(np.uint8)
    return pixels


@pytest.mark.parametrize("tint", [(0.75, 0.85, 1.0), (1.0, 0.85, 0.65), (0.6, 0.8, 1.0)])
def test_a_tinted_film_is_taken(tint: tuple[float, ...]) -> None:
    """Blue film, sepia, a lamp's colour: as they are, saved as JPEG, in 16 bits, with coloured text."""
    film = tinted(*tint)
    marked = film.copy()
    marked[10:26] = (255, 255, 0)  # 4 % of the picture
    grey = makers.radiograph(400, 320, bits=8).astype(int)
    for samples in (film, marked, film.astype(np.uint16) * 257, tinted(*tint) // 2 + 40):
        found, steps, _ = to_grey(samples)
        assert steps == ("luma-601-to-grey",)
        assert np.corrcoef(found[40:].ravel(), grey[40:].ravel())[0, 1] > 0.999
    read_jpeg(makers.jpeg(film, quality=75), Limits())


def heatmap() -> makers.Pixels:
    """A map in colours over a film."""
    y, x = np.mgrid[-1:1:400j, -1:1:320j]
    heat = (255 * np.exp(-4 * (x**2 + y**2))).astype(np.uint8)
    colours = cv2.applyColorMap(heat, cv2.COLORMAP_JET)[..., ::-1]
    blended: makers.Pixels = (0.6 * tinted(1, 1, 1) + 0.4 * colours).astype(np.uint8)
    return blended


def skin() -> makers.Pixels:
    """A face with its shadows and its redness, before a wall."""
    y, x = np.mgrid[-1:1:400j, -1:1:320j]
    shade = np.exp(-(x**2 + y**2))[..., None]
    redness = np.sin(5 * x + 3 * y)[..., None] * np.array((25, -12, -12))
    inside = (x**2 / 0.5 + y**2 / 0.8 < 1)[..., None]
    picture = np.where(inside, np.array((225, 165, 140)) * shade + redness, np.array((90, 110, 140)))
    clipped: makers.Pixels = picture.clip(0, 255).astype(np.uint8)
    return clipped


def patches() -> makers.Pixels:
    colours = np.random.default_rng(0).integers(0, 256, (10, 8, 3))
    repeated: makers.Pixels = colours.repeat(40, 0).repeat(40, 1).astype(np.uint8)
    return repeated


def ramp(*colour: float) -> makers.Pixels:
    picture: makers.Pixels = np.linspace(0, 255, 320)[None, :, None] * np.array(colour)
    return picture.repeat(400, 0).astype(np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        photograph(),
        heatmap(),
        skin(),
        patches(),
        ramp(1, 0, 0),
        ramp(0.1, 1, 0.2),
        cv2.applyColorMap(tinted(1, 1, 1), cv2.COLORMAP_HOT),
        cv2.applyColorMap(tinted(1, 1, 1), cv2.COLORMAP_JET),
        np.full((100, 100, 3), (200, 30, 30), np.uint8),
    ],
    ids=["gradients", "heatmap", "skin", "patches", "red", "green", "hot", "jet", "one colour"],
)
def test_colours_that_are_no_tint_are_refused(picture: makers.Pixels) -> None:
    for samples in (picture, picture.astype(np.uint16) * 257):
        with pytest.raises(NotAChestRadiograph, match="coloured"):
            to_grey(samples)
