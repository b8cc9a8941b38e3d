"""PNG: 8 and 16 bit, grey, RGB, palette, with or without alpha (W3C PNG, third edition)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrserve.errors import UnreadableImage, UnsupportedImage
from cxrserve.imaging.exif import tiff_orientation
from cxrserve.imaging.foreign_errors import reading
from cxrserve.imaging.grey import to_grey
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.orientation import Orientation, upright
from cxrserve.imaging.radiograph import ImageAbout, Radiograph
from cxrserve.warnings import ImageWarning, WarningCode

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_ORIENTED: Final = b"eXIf"
_NEEDED: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # no profile, no text: they can be bombs
_COLOUR_TYPES: Final = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_MIN_BITS: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    rows: int
    columns: int
    depth: int
    colour_type: int


def read_png(data: bytes, limits: Limits) -> Radiograph:
    """The radiograph in a PNG file.

    Raises:
        UnreadableImage, UnsupportedImage, NotAChestRadiograph, TooLarge: see `errors`.
    """
    with reading("the PNG file"):
        chunks = list(_chunks(data))
        header = _header(chunks)
        limits.check_size(header.rows, header.columns)
        _check_still(chunks)
        samples, alpha_steps, warnings = _without_alpha(_decode(_rebuilt(chunks)))
        pixels_HW, grey_steps, grey_warnings = to_grey(samples)
        orientation = _orientation(chunks)
    pixels_HW = upright(pixels_HW, orientation)
    depth, depth_steps = _depth(header, chunks, pixels_HW)
    return Radiograph(
        pixels_HW=pixels_HW,
        about=ImageAbout(
            format="png",
            rows=pixels_HW.shape[0],
            columns=pixels_HW.shape[1],
            photometric_interpretation="MONOCHROME2" if header.colour_type in (0, 4) else "RGB",
            bits_stored=depth,
        ),
        steps=(
            *alpha_steps,
            *grey_steps,
            *((f"exif-orientation-{orientation}",) if orientation != 1 else ()),
            *depth_steps,
        ),
        warnings=warnings + grey_warnings,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(type, whole chunk) up to IEND. Clause 5.3."""
    view, position = memoryview(data), len(_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        yield kind, view[position:end]
        if kind == b"IEND":
            return
        position = end
    raise UnreadableImage("the PNG file ends before its end chunk: it is truncated. Send it again.")


def _header(chunks: list[tuple[bytes, memoryview]]) -> _Header:
    kind, chunk = chunks[0]
    if kind != b"IHDR" or len(chunk) != 25:
        raise UnreadableImage("the PNG file does not begin with its header: it is damaged.")
    columns, rows, depth, colour_type = struct.unpack_from(">IIBB", chunk, 8)
    if colour_type not in _COLOUR_TYPES:
        raise UnreadableImage(
            f"the PNG's colour type is {colour_type}; one of {sorted(_COLOUR_TYPES)} was expected."
        )
    if depth < _MIN_BITS and colour_type == 0:
        raise UnsupportedImage(
            f"the PNG has {depth} bits a pixel; a radiograph has 8 or 16. Send the grey image."
        )
    return _Header(rows=rows, columns=columns, depth=depth, colour_type=colour_type)


def _check_still(chunks: list[tuple[bytes, memoryview]]) -> None:
    """One frame is a still image, unless it stands beside another one (fdAT). Clauses 11.3.6.1, 11.3.6.3."""
    beside = any(kind == b"fdAT" for kind, _ in chunks)
    for kind, chunk in chunks:
        frames = int.from_bytes(chunk[8:12], "big") if kind == b"acTL" else 1
        if frames != 1 or (kind == b"acTL" and beside):
            raise UnsupportedImage(f"the PNG is an animation of {frames} frames. Send a single still image.")


def _orientation(chunks: list[tuple[bytes, memoryview]]) -> Orientation:
    """The orientation in the eXIf chunk (third edition, 11.3.4.5); 1 where there is none."""
    tiff = next((bytes(chunk[8:-4]) for kind, chunk in chunks if kind == _ORIENTED), b"")
    return tiff_orientation(tiff.removeprefix(b"Exif\0\0")) or 1


def _depth(
    header: _Header, chunks: list[tuple[bytes, memoryview]], pixels_HW: NDArray[np.integer]
) -> tuple[int, tuple[str, ...]]:
    """Bits of a sample that carry values, and the step where they are fewer than the file's 8 or 16.

    A PNG of 16 bits often holds 10, 12 or 14. The sBIT chunk says so (11.3.2.3); else the largest value does.
    """
    if header.depth != 16:
        return pixels_HW.dtype.itemsize * 8, ()
    declared = next((int(min(chunk[8:-4])) for kind, chunk in chunks if kind == b"sBIT"), 16)
    needed = int(pixels_HW.max()).bit_length()
    depth = declared if needed <= declared < 16 else next(d for d in (8, 10, 12, 14, 16) if needed <= d)
    return depth, (f"bit-depth-{depth}-of-16",) if depth < 16 else ()


def _rebuilt(chunks: list[tuple[bytes, memoryview]]) -> bytes:
    return b"".join((_SIGNATURE, *(chunk for kind, chunk in chunks if kind in _NEEDED)))


def _decode(data: bytes) -> NDArray[Any]:
    """Samples [H, W], [H, W, 3] (RGB) or [H, W, 4] (RGBA), uint8 or uint16.

    OpenCV's libpng refuses what Pillow answers with a half black picture: compressed data that end early.
    """
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise UnreadableImage("the PNG cannot be decoded: it is damaged or truncated. Send it again.")
    return np.asarray(samples if samples.ndim == 2 else samples[..., [2, 1, 0, 3][: samples.shape[2]]])


def _without_alpha(samples: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...], tuple[ImageWarning, ...]]:
    """Samples without their last channel where that is alpha, the step, and a warning if it mattered."""
    if samples.ndim == 2 or samples.shape[2] == 3:
        return samples, (), ()
    full = int(np.iinfo(samples.dtype).max)
    colour, alpha = samples[..., :3], samples[..., 3:]
    steps: tuple[str, ...] = ("drop-opaque-alpha",)
    warnings: tuple[ImageWarning, ...] = ()
    if int(alpha.min()) < full:
        colour = (colour.astype(np.uint32) * alpha // full).astype(samples.dtype)
        steps, warnings = (
            ("composite-alpha-on-black",),
            (
                ImageWarning(
                    code=WarningCode.TRANSPARENCY,
                    message="The PNG has transparent parts; they were read as black. Send it without "
                    "transparency.",
                ),
            ),
        )
    return colour, steps, warnings
