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
from cxrserve.imaging.border import reading
from cxrserve.imaging.grey import to_grey
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.radiograph import ImageAbout, Radiograph

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_NEEDED: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # no profile, no text: they can be bombs
_COLOUR_TYPES: Final = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_FEWEST_BITS: Final = 8
_NOTHING: Final[tuple[str, ...]] = ()


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
        pixels_HW, grey_steps = to_grey(samples)
    return Radiograph(
        pixels_HW=pixels_HW,
        about=ImageAbout(
            format="png",
            rows=header.rows,
            columns=header.columns,
            photometric_interpretation="MONOCHROME2" if header.colour_type in (0, 4) else "RGB",
            bits_stored=pixels_HW.dtype.itemsize * 8,
        ),
        steps=alpha_steps + grey_steps,
        warnings=warnings,
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
    if depth < _FEWEST_BITS and colour_type == 0:
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


def _without_alpha(samples: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    """Samples without their last channel where that is alpha, the step, and a warning if it mattered."""
    if samples.ndim == 2 or samples.shape[2] == 3:
        return samples, (), ()
    full = int(np.iinfo(samples.dtype).max)
    colour, alpha = samples[..., :3], samples[..., 3:]
    steps, warnings = ("drop-opaque-alpha",), _NOTHING
    if int(alpha.min()) < full:
        colour = (colour.astype(np.uint32) * alpha // full).astype(samples.dtype)
        steps, warnings = (
            ("composite-alpha-on-black",),
            ("The PNG has transparent parts; they were judged as black. Send it without transparency.",),
        )
    return colour, steps, warnings
