"""Pixel Data to stored values.

Legend: H rows, W columns, C samples of a pixel.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from cxrserve.errors import UnreadableImage, UnsupportedImage
from cxrserve.imaging.codestream import starts_stream, stream_end, without_jp2
from cxrserve.imaging.dicom.codecs import CODECS, check_stream
from cxrserve.imaging.dicom.dataset import DicomFile
from cxrserve.imaging.dicom.header import PixelHeader
from cxrserve.imaging.dicom.sample_bits import stored_values
from cxrserve.warnings import ImageWarning, WarningCode

Samples = NDArray[Any]

NATIVE: Final = frozenset(
    (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
)

# Transfer syntaxes without a decoder here that pydicom has no name for.
_OTHER_SYNTAXES: Final = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.113619.5.2": "GE private, Implicit VR with Big Endian pixel data",
}
_NEAR_NEUTRAL: Final = 6 / 255  # chroma of a grey picture, after JPEG


def decode_pixels(
    file: DicomFile, header: PixelHeader
) -> tuple[Samples, tuple[str, ...], tuple[ImageWarning, ...]]:
    """The samples, [H, W] or [H, W, 3] (RGB), the steps taken, and doubts.

    To be called within `foreign_errors.reading`.

    Raises:
        UnsupportedImage: a transfer syntax without a decoder, or several frames.
        UnreadableImage: too few bytes, or a row too many, a stream that contradicts the header, values above
            BitsStored.
    """
    syntax = file.transfer_syntax
    if syntax in NATIVE:
        raw = _decode_native(file, header)
    elif syntax in CODECS:
        raw = _decode_compressed(file.dataset, syntax, header)
    else:
        name = _OTHER_SYNTAXES.get(syntax, syntax.name)
        name = f"{name} ({syntax})" if name != syntax else "a private or unknown one"
        raise UnsupportedImage(f"the transfer syntax is {name}. Send the image in Explicit VR Little Endian.")
    values, steps, warnings = stored_values(raw, header)
    samples, colour_steps, colour_warnings = _to_rgb(values, file, header)
    return samples, steps + colour_steps, warnings + colour_warnings


def _decode_native(file: DicomFile, header: PixelHeader) -> Samples:
    element = file.dataset["PixelData"]
    if element.is_undefined_length:
        raise UnreadableImage("the pixel data are compressed, but no compressed transfer syntax is declared.")
    expected, actual = header.native_bytes, len(element.value or b"")
    # PS3.5 8.1.1 allows one byte of padding; some write more, up to the end of a block. A whole row more is
    # another image than the header's.
    if not expected <= actual < expected + expected // header.rows:
        raise UnreadableImage(
            f"the pixel data have {actual} bytes, and {header.rows} × {header.columns} pixels of "
            f"{header.bits_allocated} bit need {expected}: truncated, or a wrong header. Send it again."
        )
    samples = header.native_samples
    raw: Samples = np.frombuffer(element.value, f"<u{header.bits_allocated // 8}", samples)
    if file.big_endian and header.bits_allocated == 16:
        raw = raw.byteswap()
    elif file.big_endian and element.VR == "OW":  # bytes travel in swapped pairs: PS3.5 A.3
        raw = np.frombuffer(element.value, "<u2", (samples + 1) // 2).byteswap().view(np.uint8)[:samples]
    if header.photometric_interpretation == "YBR_FULL_422":
        return _spread_chroma(raw.reshape(header.rows, header.columns // 2, 4))
    if header.samples > 1:
        _check_arrangement(raw, header)
    if header.planar:
        return np.moveaxis(raw.reshape(header.samples, header.rows, header.columns), 0, -1)
    return raw.reshape((header.rows, header.columns, header.samples)[: 3 if header.samples > 1 else 2])


def _check_arrangement(raw: Samples, header: PixelHeader) -> None:
    """Grey underneath, with a false Planar Configuration, would pass as three thirds of a picture."""
    by_pixel, by_plane = raw.reshape(-1, header.samples), raw.reshape(header.samples, -1).T
    declared, other = (by_plane, by_pixel) if header.planar else (by_pixel, by_plane)
    if not _is_grey(declared) and _is_grey(other):
        raise UnreadableImage(
            f"PlanarConfiguration is {int(header.planar)}, but the bytes lie as {int(not header.planar)} "
            "says. Send a file with a sound header."
        )


def _is_grey(pixels: Samples) -> bool:
    return all(np.array_equal(pixels[:, 0], pixels[:, sample]) for sample in range(1, pixels.shape[1]))


def _spread_chroma(pairs: Samples) -> Samples:
    """Y1 Y2 Cb Cr for two pixels, to Y Cb Cr for each."""
    rows, half = pairs.shape[:2]
    out = np.empty((rows, half * 2, 3), pairs.dtype)
    out[..., 0] = pairs[..., :2].reshape(rows, half * 2)
    out[..., 1:] = np.repeat(pairs[..., 2:], 2, axis=1)
    return out


def _decode_compressed(dataset: Dataset, syntax: UID, header: PixelHeader) -> Samples:
    codec = CODECS[syntax]
    stream = without_jp2(_single_frame(dataset, syntax))
    if codec.processes:
        check_stream(stream, codec, header)
        stream = stream[: stream_end(stream)]
    samples = codec.decode(stream, header)
    expected = (header.rows, header.columns) + ((header.samples,) if header.samples > 1 else ())
    if samples.shape != expected:
        raise UnreadableImage(
            f"the decoder returned {samples.shape}, the header declares {expected}: damaged."
        )
    return samples


def _single_frame(dataset: Dataset, syntax: UID) -> bytes:
    """The fragments of the one frame, joined: there is nothing else in the data (PS3.5 A.4).

    A frame begins where a fragment begins with a start marker. RLE has none: there the offset table says
    where, as far as it points at fragments; entries that point elsewhere are no frames.
    """
    element = dataset["PixelData"]
    if not element.is_undefined_length:
        raise UnreadableImage(
            "the transfer syntax is a compressed one, but the pixel data are not encapsulated."
        )
    offset_table, *fragments = generate_fragments(element.value or b"")
    if not fragments:
        raise UnreadableImage("the pixel data hold no fragment: there is no image in the file.")
    if syntax == RLELossless:
        offsets = set(np.frombuffer(offset_table, "<u4", len(offset_table) // 4).tolist())
        starts = accumulate(8 + len(fragment) for fragment in fragments[:-1])
        frames = 1 + sum(start in offsets for start in starts)
    else:
        frames = 1 + sum(starts_stream(fragment) for fragment in fragments[1:])
    if frames > 1:
        raise UnsupportedImage(
            f"the pixel data hold {frames} frames, and one radiograph has one. Send single images."
        )
    return b"".join(fragments)


def _to_rgb(
    values: Samples, file: DicomFile, header: PixelHeader
) -> tuple[Samples, tuple[str, ...], tuple[ImageWarning, ...]]:
    """Grey as it is; colour as RGB."""
    photometric = header.photometric_interpretation
    if photometric == "PALETTE COLOR":
        return np.asarray(apply_color_lut(values, file.dataset)), (), ()
    if photometric == "RGB" and _is_grey_in_ycbcr(values, header.bits_stored):
        return values[..., 0], ("luma-of-ycbcr-called-rgb",), _colour_warning("RGB", "YCbCr")
    codec = CODECS.get(file.transfer_syntax)
    if not photometric.startswith("YBR") or (codec is not None and photometric in codec.undoes):
        return values, (), ()
    if all(np.array_equal(values[..., 0], values[..., sample]) for sample in (1, 2)):
        return values[..., 0], ("grey-of-rgb-called-ycbcr",), _colour_warning(photometric, "RGB")
    if photometric in ("YBR_ICT", "YBR_RCT"):
        raise UnreadableImage(
            f"{photometric} is of JPEG 2000 only, and the pixel data are not. A wrong header."
        )
    return _ybr_to_rgb(values, header.bits_stored), (), ()


def _colour_warning(declared: str, true: str) -> tuple[ImageWarning, ...]:
    return (
        ImageWarning(
            code=WarningCode.COLOUR_LABEL,
            message=f"PhotometricInterpretation is {declared}, but the samples are those of a grey picture "
            f"in {true}; they were read so. Send a file with a sound header.",
        ),
    )


def _is_grey_in_ycbcr(values: Samples, bits: int) -> bool:
    """Whether the three samples are the brightness and the neutral chroma of a grey picture."""
    neutral, full = 1 << (bits - 1), (1 << bits) - 1
    chroma = values[::4, ::4, 1:].astype(np.int32) - neutral
    return bool(
        np.abs(chroma).max() <= max(_NEAR_NEUTRAL * full, 1) and np.ptp(values[::4, ::4, 0]) > full // 8
    )


def _ybr_to_rgb(ybr_HWC: Samples, bits: int) -> Samples:
    """PS3.3 C.7.6.3.1.2, full range. Neutral chroma gives R = G = B = Y exactly."""
    y, cb, cr = (ybr_HWC[..., i].astype(np.float32) for i in range(3))
    neutral = 1 << (bits - 1)
    cb, cr = cb - neutral, cr - neutral
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    rgb_HWC: Samples = np.clip(np.rint(rgb), 0, (1 << bits) - 1).astype(ybr_HWC.dtype)
    return rgb_HWC
