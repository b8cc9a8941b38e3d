"""A worker's answer, checked value by value before the service believes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxrserve import errors
from cxrserve.errors import CxrserveError, UnreadableImage
from cxrserve.imaging.correction import NO_CORRECTION, Correction
from cxrserve.imaging.display_header import DisplayedImage, DisplayHeader, payload_bytes
from cxrserve.imaging.grey_summary import GreySummary
from cxrserve.imaging.prepared import CHECK_SIDE, PreparedImage
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.radiograph import ImageAbout
from cxrserve.warnings import ImageWarning

MAX_HEADER_BYTES: Final = 384 * 2**10  # a cleaned DICOM header, with two tables: `dicom/source_header.py`
_MAX_DETAIL: Final = 1000
_REFUSALS: Final[dict[str, type[CxrserveError]]] = {
    cls.__name__: cls
    for cls in (
        errors.RequestError,
        errors.TooLarge,
        errors.UnsupportedFormat,
        errors.UnreadableImage,
        errors.DecoderFailed,
        errors.UnsupportedImage,
        errors.NotAChestRadiograph,
        errors.NotForPresentation,
    )
}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    about: ImageAbout
    applied: tuple[str, ...]
    warnings: tuple[ImageWarning, ...]
    timing_ms: dict[str, float]
    preview: tuple[int, int] | None
    grey: GreySummary | None = None
    retire: bool


class _Refusal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    error: str
    detail: str = Field(max_length=_MAX_DETAIL)
    retire: bool


class _DisplayAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    display: DisplayHeader
    retire: bool


class _HeaderAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    retire: bool


def most_answer_bytes(preprocessing: Preprocessing, preview_side: int) -> int:
    """The longest payload that an honest worker sends."""
    return _levels_bytes(preprocessing) + CHECK_SIDE**2 + preview_side**2


def read_answer(
    header: dict[str, Any],
    payload: bytearray,
    preprocessing: Preprocessing,
    preview_side: int,
    correction: Correction = NO_CORRECTION,
) -> PreparedImage:
    """The image in an answer. The levels are views on `payload`, not copies.

    Raises:
        RequestError, UnsupportedFormat, TooLarge, ImageError: what the worker refused the file with.
        UnreadableImage: the answer makes no sense, so the file has broken the worker.
    """
    try:
        if "error" in header:
            raise _refusal(_Refusal.model_validate(header))
        image = _image(_Answer.model_validate(header), payload, preprocessing, preview_side)
    except ValidationError as exc:
        raise _nonsense() from exc
    return replace(image, quarters=correction.quarters)


def read_header_answer(header: dict[str, Any], payload: bytearray) -> bytes:
    """The cleaned DICOM header in an answer; `reports.dicom.source` reads it, and cleans it once more.

    Raises:
        RequestError, ImageError: what the worker refused the file with.
        UnreadableImage: the answer makes no sense, so the file has broken the worker.
    """
    try:
        if "error" in header:
            raise _refusal(_Refusal.model_validate(header))
        _HeaderAnswer.model_validate(header)
    except ValidationError as exc:
        raise _nonsense() from exc
    return bytes(payload)


def read_display_answer(header: dict[str, Any], payload: bytearray) -> DisplayedImage:
    """The image for a screen in an answer.

    Raises:
        RequestError, ImageError: what the worker refused the file with.
        UnreadableImage: the answer makes no sense, so the file has broken the worker.
    """
    try:
        if "error" in header:
            raise _refusal(_Refusal.model_validate(header))
        shown = _DisplayAnswer.model_validate(header).display
    except ValidationError as exc:
        raise _nonsense() from exc
    if shown.lowest > shown.highest or len(payload) != payload_bytes(shown):
        raise _nonsense()
    return DisplayedImage(header=shown, payload=payload)


def _refusal(refusal: _Refusal) -> CxrserveError:
    detail = "".join(character if character.isprintable() else " " for character in refusal.detail)
    return _REFUSALS.get(refusal.error, UnreadableImage)(detail)


def _image(
    answer: _Answer, payload: bytearray, preprocessing: Preprocessing, preview_side: int
) -> PreparedImage:
    rows, columns = answer.preview or (0, 0)
    expected = _levels_bytes(preprocessing) + CHECK_SIDE**2 + rows * columns
    if not _is_preview(answer.preview, preview_side) or len(payload) != expected:
        raise _nonsense()
    pixels, levels, position = np.frombuffer(payload, np.uint8), {}, 0
    for size in sorted(set(preprocessing.sizes)):
        levels[size] = pixels[position : position + size * size].reshape(size, size)
        position += size * size
    check_SS = pixels[position : position + CHECK_SIDE**2].reshape(CHECK_SIDE, CHECK_SIDE)
    position += CHECK_SIDE**2
    return PreparedImage(
        about=answer.about,
        applied=answer.applied,
        warnings=answer.warnings,
        levels=levels,
        check_SS=check_SS,
        preview_HW=pixels[position:].reshape(rows, columns) if answer.preview else None,
        timing_ms=answer.timing_ms,
        grey=answer.grey,
    )


def _is_preview(shape: tuple[int, int] | None, side: int) -> bool:
    if shape is None:
        return side == 0
    return all(1 <= extent <= side for extent in shape)


def _levels_bytes(preprocessing: Preprocessing) -> int:
    return sum(size * size for size in set(preprocessing.sizes))


def _nonsense() -> UnreadableImage:
    return UnreadableImage("the decoder broke down on this file: it is damaged. Send the image uncompressed.")
