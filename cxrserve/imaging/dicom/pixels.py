"""Pixel Data to stored values.

Legend: H rows, W columns, C samples of a pixel.
"""

from __future__ import annotations

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
)

from cxrserve.errors import UnreadableImage, UnsupportedImage
from cxrserve.imaging.codestream import starts_stream, without_jp2
from cxrserve.imaging.dicom.codecs import CODECS, check_stream
from cxrserve.imaging.dicom.dataset import DicomFile
from cxrserve.imaging.dicom.header import PixelHeader

Samples = NDArray[Any]

NATIVE: Final = frozenset(
    (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
)


def decode_pixels(file: DicomFile, header: PixelHeader) -> tuple[Samples, tuple[str, ...]]:
    """The samples, [H, W] or [H, W, 3] (RGB), and the steps taken. To be called within `border.reading`.

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
        name = f"{syntax.name} ({syntax})" if syntax.name != syntax else "a private or unknown one"
        raise UnsupportedImage(f"the transfer syntax is {name}. Send the image in Explicit VR Little Endian.")
    values, steps = _stored_values(raw, header)
    return _to_rgb(values, file, header), steps


def _decode_native(file: DicomFile, header: PixelHeader) -> Samples:
    element = file.dataset["PixelData"]
    if element.is_undefined_length:
        raise UnreadableImage("the pixel data are compressed, but no compressed transfer syntax is declared.")
    expected, found = header.native_bytes, len(element.value or b"")
    # PS3.5 8.1.1 allows one byte of padding; some write more, up to the end of a block. A whole row more is
    # another image than the header's.
    if not expected <= found < expected + expected // header.rows:
        raise UnreadableImage(
            f"the pixel data have {found} bytes, and {header.rows} × {header.columns} pixels of "
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
    stream = without_jp2(_single_frame(dataset))
    if codec.processes:
        check_stream(stream, codec, header)
    samples = codec.decode(stream, header)
    expected = (header.rows, header.columns) + ((header.samples,) if header.samples > 1 else ())
    if samples.shape != expected:
        raise UnreadableImage(
            f"the decoder returned {samples.shape}, the header declares {expected}: damaged."
        )
    return samples


def _single_frame(dataset: Dataset) -> bytes:
    """The fragments of the one frame, joined: there is nothing else in the data (PS3.5 A.4)."""
    element = dataset["PixelData"]
    if not element.is_undefined_length:
        raise UnreadableImage(
            "the transfer syntax is a compressed one, but the pixel data are not encapsulated."
        )
    offset_table, *fragments = generate_fragments(element.value or b"")
    if not fragments:
        raise UnreadableImage("the pixel data hold no fragment: there is no image in the file.")
    frames = max(len(offset_table) // 4, 1 + sum(starts_stream(fragment) for fragment in fragments[1:]))
    if frames > 1:
        raise UnsupportedImage(
            f"the pixel data hold {frames} frames, and one radiograph has one. Send single images."
        )
    return b"".join(fragments)


def _stored_values(raw: Samples, header: PixelHeader) -> tuple[Samples, tuple[str, ...]]:
    """Samples as numbers: overlay bits removed, sign applied, and none beyond BitsStored."""
    steps: tuple[str, ...] = ()
    bits = header.bits_stored
    if header.has_embedded_overlay and bits < header.bits_allocated and raw.dtype.kind == "u":
        raw, steps = raw & ((1 << bits) - 1), ("mask-embedded-overlay",)
    if header.signed and raw.dtype.kind == "u":
        raw = _with_sign(raw, bits)
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if header.signed else (0, (1 << bits) - 1)
    found_lowest, found_highest = int(raw.min()), int(raw.max())
    if found_lowest < lowest or found_highest > highest:
        raise UnreadableImage(
            f"stored values reach from {found_lowest} to {found_highest}, but BitsStored {bits} allows "
            f"{lowest} to {highest}: the header is wrong. Send a file with a sound one."
        )
    return raw, steps


def _with_sign(raw: Samples, bits: int) -> Samples:
    """Two's complement of `bits` bits; the bits above may be zero or repeat the sign (PS3.5 8.1.1)."""
    if int(raw.max()) < 1 << bits:
        shift = raw.dtype.itemsize * 8 - bits
        return (raw << shift).view(f"i{raw.dtype.itemsize}") >> shift
    return raw.view(f"i{raw.dtype.itemsize}")


def _to_rgb(values: Samples, file: DicomFile, header: PixelHeader) -> Samples:
    """Grey as it is; colour as RGB."""
    photometric = header.photometric_interpretation
    if photometric == "PALETTE COLOR":
        return np.asarray(apply_color_lut(values, file.dataset))
    codec = CODECS.get(file.transfer_syntax)
    if not photometric.startswith("YBR") or (codec is not None and photometric in codec.undoes):
        return values
    if photometric in ("YBR_ICT", "YBR_RCT"):
        raise UnreadableImage(
            f"{photometric} is of JPEG 2000 only, and the pixel data are not. A wrong header."
        )
    return _ybr_to_rgb(values, header.bits_stored)


def _ybr_to_rgb(ybr_HWC: Samples, bits: int) -> Samples:
    """PS3.3 C.7.6.3.1.2, full range. Neutral chroma gives R = G = B = Y exactly."""
    y, cb, cr = (ybr_HWC[..., i].astype(np.float32) for i in range(3))
    neutral = 1 << (bits - 1)
    cb, cr = cb - neutral, cr - neutral
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    rgb_HWC: Samples = np.clip(np.rint(rgb), 0, (1 << bits) - 1).astype(ybr_HWC.dtype)
    return rgb_HWC
