"""One decoder for each compression of DICOM, chosen by measurement and by licence (none is GPL).

Each takes the stream of one frame and returns its samples, [H, W] or [H, W, 3], unsigned where the format
knows no sign. All refuse a truncated stream; what they raise is translated in `foreign_errors`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import gdcm
import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_jpeg_2000
from PIL import Image
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cxrserve.errors import UnreadableImage, UnsupportedImage
from cxrserve.imaging.capture_stderr import with_c_messages
from cxrserve.imaging.codestream import Process, read_stream_header, stream_end
from cxrserve.imaging.dicom.header import PixelHeader
from cxrserve.imaging.jpeg import decode_jpeg_samples, speaks_of_damage

Samples = NDArray[Any]
_RLE_HEADER_BYTES: Final = 64
# Radiographs at 100:1 still take 8 pixels a byte. A stream with fewer bytes than this lies about its size,
# and openjpeg would spend seconds and gigabytes on it, and answer.
_MAX_PIXELS_A_BYTE: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """A decoder and what it is for.

    Attributes:
        processes: the kinds of stream that the transfer syntax may hold; none for RLE, which has no header.
        undoes: the photometric interpretations that it turns into RGB itself.
    """

    decode: Callable[[bytes, PixelHeader], Samples]
    processes: tuple[Process, ...] = ()
    undoes: tuple[str, ...] = ()


def check_stream(stream: bytes, codec: Codec, header: PixelHeader) -> None:
    """Compare the stream's own header with the data set's, before a decoder allocates what it asks for.

    Raises:
        UnreadableImage: they contradict each other, or the stream is cut.
        UnsupportedImage: a process that no decoder here knows.
    """
    stream_header = read_stream_header(stream)
    if stream_end(stream) is None:
        raise UnreadableImage(
            "the compressed stream has no end marker: it is truncated. Send the file again."
        )
    if stream_header.process not in codec.processes:
        raise UnreadableImage(
            f"the compressed stream is {stream_header.process}, the transfer syntax asks for "
            f"{' or '.join(codec.processes)}: one of them is wrong. Send a sound file."
        )
    declared = (header.rows, header.columns, header.samples)
    actual = (stream_header.rows, stream_header.columns, stream_header.components)
    if actual != declared:
        raise UnreadableImage(
            f"the compressed stream holds rows × columns × samples {actual}, the header declares {declared}: "
            "one of them is wrong. Send a sound file."
        )
    if header.rows * header.columns > len(stream) * _MAX_PIXELS_A_BYTE:
        raise UnreadableImage(
            f"the compressed stream has {len(stream)} bytes for {header.rows} × {header.columns} pixels: no "
            "image is that small. It is damaged or truncated."
        )
    if stream_header.process == "extended" and stream_header.precision > 8:
        raise UnsupportedImage(
            f"JPEG Extended with {stream_header.precision} bits (process 4) is not decoded here. Convert it "
            "to JPEG Lossless, JPEG 2000 or Explicit VR Little Endian."
        )
    if stream_header.precision > header.bits_allocated:
        raise UnreadableImage(
            f"the compressed stream has {stream_header.precision} bits, BitsAllocated is "
            f"{header.bits_allocated}: the header is wrong. Send a sound file."
        )
    # Encoders write signed values as unsigned ones, whose bits are the same; the other way makes no sense.
    if stream_header.signed and not header.signed:
        raise UnreadableImage(
            "the JPEG 2000 stream is signed, PixelRepresentation is 0: one is wrong. Send a sound file."
        )


def _jpeg(stream: bytes, header: PixelHeader) -> Samples:
    return decode_jpeg_samples(stream, components_are_rgb=header.photometric_interpretation == "RGB")


def _jpeg_lossless(stream: bytes, header: PixelHeader) -> Samples:
    stream_header = read_stream_header(stream)
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.columns, header.rows, 1))
    image.SetDataElement(element)
    monochrome = header.samples == 1
    kind = gdcm.PhotometricInterpretation.MONOCHROME2 if monochrome else gdcm.PhotometricInterpretation.RGB
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    allocated = 8 if stream_header.precision <= 8 else 16
    image.SetPixelFormat(
        gdcm.PixelFormat(header.samples, allocated, stream_header.precision, stream_header.precision - 1, 0)
    )
    # A str with the bytes in it; None where the stream is cut. Where an end marker follows the cut, gdcm
    # answers half a picture, and only its libjpeg knows: "Corrupt JPEG data: premature end of data segment".
    decoded, messages = with_c_messages(image.GetBuffer)
    if decoded is None or speaks_of_damage(messages, stream):
        raise UnreadableImage("the JPEG Lossless stream cannot be decoded: it is damaged or truncated.")
    samples = np.frombuffer(decoded.encode("utf-8", "surrogateescape"), f"<u{allocated // 8}")
    return samples.reshape((header.rows, header.columns) + (() if monochrome else (header.samples,)))


def _jpeg_ls(stream: bytes, header: PixelHeader) -> Samples:
    samples: Samples = jpeg_ls.decode(np.frombuffer(stream, np.uint8))
    if samples.ndim == 3 and samples.shape[0] == header.samples:  # interleave mode none: plane by plane
        samples = np.moveaxis(samples, 0, -1)
    return samples


def _jpeg_2000(stream: bytes, header: PixelHeader) -> Samples:
    samples: Samples = decode_jpeg_2000(stream, j2k_format=0)
    return samples


def _rle(stream: bytes, header: PixelHeader) -> Samples:
    """PS3.5 Annex G: one PackBits segment for each byte of each sample, the high bytes first."""
    pixels, sample_bytes = header.rows * header.columns, header.bits_allocated // 8
    expected = header.samples * sample_bytes
    count, *offsets = struct.unpack_from("<16I", stream)
    if count != expected:
        raise UnreadableImage(
            f"the RLE data have {count} segments; {expected} were expected. The file is damaged."
        )
    bounds = [*offsets[:count], len(stream)]
    if bounds[0] != _RLE_HEADER_BYTES or bounds != sorted(bounds):
        raise UnreadableImage("the RLE segments' offsets point outside the data: the file is damaged.")
    planes = np.empty((header.samples, sample_bytes, pixels), np.uint8)
    for index, (start, end) in enumerate(pairwise(bounds)):
        planes[divmod(index, sample_bytes)] = _unpack_bits(stream[start:end], pixels)
    values: Samples = planes[:, 0]
    if sample_bytes == 2:
        values = values.astype(np.uint16) << 8 | planes[:, 1]
    values = np.moveaxis(values.reshape(header.samples, header.rows, header.columns), 0, -1)
    return values[..., 0] if header.samples == 1 else values


def _unpack_bits(segment: bytes, count: int) -> NDArray[np.uint8]:
    # PackBits expands a pair of bytes to 128 at most: too few bytes are seen before anything is allocated.
    if len(segment) * 64 < count:
        raise UnreadableImage(
            f"an RLE segment of {len(segment)} bytes cannot hold {count} pixels: truncated."
        )
    # As one long row, so that Pillow, which ends runs at a row's end, also takes runs over several rows.
    return np.asarray(Image.frombytes("L", (count, 1), segment, "packbits", "L")).reshape(-1)


_DCT: Final = Codec(
    decode=_jpeg, processes=("baseline", "extended", "progressive"), undoes=("YBR_FULL", "YBR_FULL_422")
)
_LOSSLESS: Final = Codec(decode=_jpeg_lossless, processes=("lossless",))
_LS: Final = Codec(decode=_jpeg_ls, processes=("jpeg-ls",))
_2000: Final = Codec(decode=_jpeg_2000, processes=("jpeg-2000",), undoes=("YBR_ICT", "YBR_RCT"))

CODECS: Final[dict[UID, Codec]] = {
    JPEGBaseline8Bit: _DCT,
    JPEGExtended12Bit: _DCT,
    JPEGLossless: _LOSSLESS,
    JPEGLosslessSV1: _LOSSLESS,
    JPEGLSLossless: _LS,
    JPEGLSNearLossless: _LS,
    JPEG2000Lossless: _2000,
    JPEG2000: _2000,
    HTJ2KLossless: _2000,
    HTJ2KLosslessRPCL: _2000,
    HTJ2K: _2000,
    RLELossless: Codec(decode=_rle),
}
