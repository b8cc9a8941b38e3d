"""The same radiograph in every transfer syntax gives the same stored values."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from pydicom.uid import (
    HTJ2K,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxrserve.errors import ImageError, UnreadableImage, UnsupportedImage
from cxrserve.imaging.dicom.read import read_dicom
from cxrserve.imaging.limits import Limits
from tests.imaging import makers

GOLDEN: Final = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("syntax", makers.LOSSLESS_SYNTAXES, ids=lambda uid: UID(uid).name)
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (10, False), (12, False), (16, False), (12, True)])
def test_lossless_syntaxes_give_the_stored_values(syntax: str, bits: int, signed: bool) -> None:
    pixels = makers.radiograph(bits=bits, signed=signed)
    found = read_dicom(makers.dicom(pixels, syntax=syntax, bits=bits), Limits())
    assert np.array_equal(found.pixels_HW, pixels)
    assert found.about.transfer_syntax == syntax
    assert (found.about.bits_stored, found.about.rows, found.about.columns) == (bits, *pixels.shape)
    assert found.steps == ()


def test_htj2k_is_decoded() -> None:
    """No encoder is at hand: the stream is that of `x · 48 + y · 13`, by OpenJPH."""
    y, x = np.mgrid[0:64, 0:64]
    pixels = (x * 48 + y * 13).astype(np.uint16)
    stream = (GOLDEN / "gradient_64x64_htj2k.j2c").read_bytes()
    for syntax in (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K):
        data = makers.encapsulated(pixels, [stream], syntax=syntax)
        assert np.array_equal(read_dicom(data, Limits()).pixels_HW, pixels)


def test_jpeg_baseline_is_within_its_loss() -> None:
    pixels = makers.radiograph(bits=8)
    found = read_dicom(makers.dicom(pixels, syntax=JPEGBaseline8Bit, bits=8), Limits()).pixels_HW
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - pixels).mean() < 2
    extended = read_dicom(
        makers.encapsulated(pixels, [makers.jpeg(pixels)], syntax=JPEGExtended12Bit, bits=8), Limits()
    )
    assert np.array_equal(extended.pixels_HW, found)


def test_twelve_bit_jpeg_is_refused_by_name() -> None:
    stream = bytearray(makers.jpeg(makers.radiograph(bits=8)))
    frame = stream.index(b"\xff\xc0")
    stream[frame + 1], stream[frame + 4] = 0xC1, 12
    data = makers.encapsulated(makers.radiograph(), [bytes(stream)], syntax=JPEGExtended12Bit)
    with pytest.raises(UnsupportedImage, match="12 bits"):
        read_dicom(data, Limits())


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.102", "1.3.46.670589.33.1.4.1", "1.2.840.10008.1.2.4.999"]
)
def test_unknown_transfer_syntaxes_are_refused(syntax: str) -> None:
    body = makers.bare(makers.dataset(makers.radiograph()), implicit=False)
    with pytest.raises(UnsupportedImage, match="transfer syntax"):
        read_dicom(makers.file_of(body, syntax), Limits())


@pytest.mark.parametrize("syntax", [uid for uid in makers.LOSSLESS_SYNTAXES if UID(uid).is_compressed])
def test_truncated_streams_are_refused(syntax: str) -> None:
    """Cut within the stream, with and without an end marker put back: never half a picture."""
    if UID(syntax).is_deflated:
        return
    pixels = makers.radiograph()
    stream = makers.compress(pixels, UID(syntax), 12)
    for cut in (70, len(stream) // 2, len(stream) - 40):
        for tail in (b"", b"\xff\xd9"):
            cut_stream = stream[:cut] + tail + b"\0" * ((cut + len(tail)) % 2)
            with pytest.raises(UnreadableImage):
                read_dicom(makers.encapsulated(pixels, [cut_stream], syntax=syntax), Limits())


@pytest.mark.parametrize("cut", [140, 400, 5_000, -100, -9])
@pytest.mark.parametrize("syntax", makers.LOSSLESS_SYNTAXES, ids=lambda uid: UID(uid).name)
def test_cut_files_are_refused(syntax: str, cut: int) -> None:
    data = makers.dicom(makers.radiograph(), syntax=syntax)
    with pytest.raises(ImageError):
        read_dicom(data[:cut], Limits())


def test_padding_before_the_end_marker_is_harmless() -> None:
    pixels = makers.radiograph()
    stream = makers.compress(pixels, JPEGLosslessSV1, 12)
    padded = stream[: stream.rindex(b"\xff\xd9")] + bytes(500) + b"\xff\xd9"
    found = read_dicom(makers.encapsulated(pixels, [padded], syntax=JPEGLosslessSV1), Limits())
    assert np.array_equal(found.pixels_HW, pixels)
    broken = padded.replace(bytes(500), b"abcd" * 100 + bytes(100))
    with pytest.raises(UnreadableImage):
        read_dicom(makers.encapsulated(pixels, [broken], syntax=JPEGLosslessSV1), Limits())


def test_fragments_of_one_frame_are_joined() -> None:
    pixels = makers.radiograph()
    stream = makers.compress(pixels, JPEG2000Lossless, 12)
    middle = len(stream) // 4 * 2
    data = makers.encapsulated(pixels, [stream[:middle], stream[middle:]], syntax=JPEG2000Lossless)
    assert np.array_equal(read_dicom(data, Limits()).pixels_HW, pixels)


@pytest.mark.parametrize("count", [2, 50])
def test_hidden_frames_are_counted(count: int) -> None:
    pixels = makers.radiograph()
    data = makers.encapsulated(
        pixels, [makers.compress(pixels, JPEGLSLossless, 12)] * count, syntax=JPEGLSLossless
    )
    with pytest.raises(UnsupportedImage, match=f"{count} frames"):
        read_dicom(data, Limits())


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_a_stream_that_contradicts_the_header_is_refused(syntax: str) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    stream = makers.compress(makers.radiograph(120, 100, bits=bits), UID(syntax), bits)
    with pytest.raises(UnreadableImage, match=r"\(120, 100, 1\).*\(100, 120, 1\)"):
        read_dicom(
            makers.encapsulated(makers.radiograph(100, 120, bits=bits), [stream], syntax=syntax, bits=bits),
            Limits(),
        )


@pytest.mark.parametrize(
    "syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, RLELossless]
)
@pytest.mark.parametrize("fragments", [[], [b""], [b"\0" * 64], [np.random.default_rng(0).bytes(4096)]])
def test_no_stream_and_random_bytes_are_refused(syntax: str, fragments: list[bytes]) -> None:
    with pytest.raises(UnreadableImage):
        read_dicom(makers.encapsulated(makers.radiograph(), fragments, syntax=syntax), Limits())


def test_signs_that_disagree_are_refused() -> None:
    stream = makers.compress(makers.radiograph(signed=True), JPEG2000Lossless, 12)
    with pytest.raises(UnreadableImage, match="signed"):
        read_dicom(makers.encapsulated(makers.radiograph(), [stream], syntax=JPEG2000Lossless), Limits())


def test_signed_values_in_an_unsigned_stream() -> None:
    """The bits are those of the signed values, and Pixel Representation says so."""
    signed = makers.radiograph(signed=True)
    unsigned = signed.view(np.uint16) & 0x0FFF
    stream = makers.compress(unsigned, JPEG2000Lossless, 12)
    found = read_dicom(makers.encapsulated(signed, [stream], syntax=JPEG2000Lossless), Limits())
    assert np.array_equal(found.pixels_HW, signed)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
@pytest.mark.parametrize("padding", [b"\xff\xff", b"\n\0", b"  ", b"\r\n", bytes(64)])
def test_padding_after_the_end_marker_is_passed_over(syntax: str, padding: bytes) -> None:
    pixels = makers.radiograph(bits=8)
    stream = makers.compress(pixels, UID(syntax), 8)
    plain, padded = (
        read_dicom(makers.encapsulated(pixels, [each], syntax=syntax, bits=8), Limits()).pixels_HW
        for each in (stream, stream + padding)
    )
    assert np.array_equal(plain, padded)


@pytest.mark.parametrize("form", ["short", "long", "open"])
def test_a_codestream_in_a_jp2_file_is_found(form: str) -> None:
    pixels = makers.radiograph()
    stream = makers.compress(pixels, JPEG2000Lossless, 12)
    length = {"short": len(stream) + 8, "long": 1, "open": 0}[form]
    extended = struct.pack(">Q", len(stream) + 16) if form == "long" else b""
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    file = boxes + struct.pack(">I4s", length, b"jp2c") + extended + stream
    found = read_dicom(makers.encapsulated(pixels, [file], syntax=JPEG2000Lossless), Limits())
    assert np.array_equal(found.pixels_HW, pixels)
    for broken in (
        boxes,
        boxes + struct.pack(">I4s", 8, b"jp2h"),
        boxes + struct.pack(">I4sI", 1, b"uuid", 0),
    ):
        with pytest.raises(UnreadableImage):
            read_dicom(makers.encapsulated(pixels, [broken], syntax=JPEG2000Lossless), Limits())
    with pytest.raises(UnsupportedImage, match="2 frames"):
        read_dicom(makers.encapsulated(pixels, [file, file], syntax=JPEG2000Lossless), Limits())


def test_runs_over_row_ends_are_decoded() -> None:
    """PS3.5 G.3.1 forbids them, and encoders write them."""
    pixels = np.zeros((64, 100), np.uint8)
    pixels[40:] = 9
    packed = b"".join(
        bytes((257 - 128, value)) * (count // 128) for value, count in ((0, 40 * 100 // 128 * 128),)
    )
    tail = pixels.reshape(-1)[4000 // 128 * 128 :]
    packed += b"".join(
        bytes((len(part) - 1,)) + part
        for part in (tail[i : i + 128].tobytes() for i in range(0, len(tail), 128))
    )
    stream = struct.pack("<16I", 1, 64, *[0] * 14) + packed
    found = read_dicom(makers.encapsulated(pixels, [stream], syntax=RLELossless, bits=8), Limits())
    assert np.array_equal(found.pixels_HW, pixels)


def test_files_without_preamble_or_meta_information() -> None:
    pixels = makers.radiograph()
    ds = makers.dataset(pixels)
    big = makers.dataset(pixels, PixelData=pixels.byteswap().tobytes())
    whole = makers.write(ds)
    for data in (
        makers.bare(ds, implicit=True),
        makers.bare(ds, implicit=False),
        makers.bare(big, implicit=False, little=False),
        whole[128:],
        whole[132:],
        b"II*\0" + whole[4:],  # a TIFF in the preamble
        b"MZ" + whole[2:],  # a program in the preamble
        whole + b"trailing garbage" * 100,
    ):
        found = read_dicom(data, Limits())
        assert np.array_equal(found.pixels_HW, pixels)


def test_elements_written_otherwise_than_declared_are_read_with_a_warning() -> None:
    ds = makers.dataset(makers.radiograph())
    for implicit, declared in ((True, ExplicitVRLittleEndian), (False, ImplicitVRLittleEndian)):
        found = read_dicom(makers.file_of(makers.bare(ds, implicit=implicit), declared), Limits())
        assert np.array_equal(found.pixels_HW, makers.radiograph())
        assert "not what it declares" in found.warnings[0].message


def test_eight_bit_words_in_big_endian_are_swapped() -> None:
    pixels = makers.radiograph(bits=8)
    ds = makers.dataset(pixels, bits=8, PixelData=pixels.view("u2").byteswap().tobytes())
    ds["PixelData"].VR = "OW"
    found = read_dicom(makers.write(ds, ExplicitVRBigEndian), Limits())
    assert np.array_equal(found.pixels_HW, pixels)


def test_a_stream_of_another_process_is_refused() -> None:
    pixels = makers.radiograph(bits=8)
    with pytest.raises(UnreadableImage, match=r"stream is baseline.*lossless"):
        read_dicom(
            makers.encapsulated(pixels, [makers.jpeg(pixels)], syntax=JPEGLosslessSV1, bits=8), Limits()
        )
