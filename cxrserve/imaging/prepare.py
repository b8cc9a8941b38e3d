"""Preprocessing: from the bytes of a file to the levels that networks see. Runs in a decode worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.appearance import appearance_warnings
from cxrserve.imaging.content import JUDGED_SIDE, check_content
from cxrserve.imaging.correction import NO_CORRECTION, Correction, corrected
from cxrserve.imaging.dicom.read import read_dicom
from cxrserve.imaging.grey_summary import grey_summary
from cxrserve.imaging.jpeg import read_jpeg
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.png import read_png
from cxrserve.imaging.prepared import CHECK_SIDE, PreparedImage
from cxrserve.imaging.profiles import apply_profile, is_full_range
from cxrserve.imaging.pyramid import (
    Preprocessing,
    build_pyramid,
    enlarged_sizes,
    pyramid_steps,
    resize,
    shape_within,
)
from cxrserve.imaging.radiograph import ImageFormat, Radiograph
from cxrserve.imaging.sniff import sniff
from cxrserve.warnings import ImageWarning, WarningCode

_READERS: Final[dict[ImageFormat, Callable[[bytes, Limits], Radiograph]]] = {
    "dicom": read_dicom,
    "jpeg": read_jpeg,
    "png": read_png,
}


def read_radiograph(data: bytes, limits: Limits) -> Radiograph:
    """The radiograph in a DICOM, JPEG or PNG file: its stored values.

    Raises:
        RequestError, UnsupportedFormat, TooLarge, ImageError: see `cxrserve.errors`.
    """
    return _READERS[sniff(data)](data, limits)


def prepare(
    data: bytes,
    preprocessing: Preprocessing,
    limits: Limits,
    *,
    preview_side: int = 0,
    correction: Correction = NO_CORRECTION,
) -> PreparedImage:
    """Decode `data`, apply the profile, build the pyramid, and a preview if `preview_side` is not 0.

    Args:
        correction: done to the stored values, before the profile.

    Raises:
        RequestError, UnsupportedFormat, TooLarge, ImageError: see `cxrserve.errors`.
    """
    started = time.perf_counter()
    radiograph = read_radiograph(data, limits)
    decoded = time.perf_counter()
    upright, correction_steps = corrected(radiograph, correction)
    grey_HW, profile_steps = apply_profile(upright, preprocessing.profile, preprocessing.pictures)
    rows, columns = grey_HW.shape
    levels = build_pyramid(grey_HW, preprocessing)
    check_content(grey_HW, _small(grey_HW, levels, preprocessing))
    preview_HW = _preview(np.rot90(grey_HW, correction.quarters), preview_side) if preview_side else None
    finished = time.perf_counter()
    return PreparedImage(
        about=radiograph.about,
        applied=radiograph.steps
        + correction_steps
        + profile_steps
        + pyramid_steps(rows, columns, preprocessing),
        warnings=radiograph.warnings
        + appearance_warnings(radiograph, full_range=is_full_range(preprocessing.profile))
        + _enlargement_warning(rows, columns, preprocessing.sizes),
        levels=levels,
        check_SS=_check_picture(grey_HW, levels, preprocessing),
        preview_HW=preview_HW,
        timing_ms={"decode": (decoded - started) * 1e3, "pyramid": (finished - decoded) * 1e3},
        quarters=correction.quarters,
        grey=grey_summary(radiograph),
    )


def _small(
    grey_HW: NDArray[np.uint8], levels: dict[int, NDArray[np.uint8]], preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """The picture for the content check, the same under any bundle: a pyramid level if one fits."""
    rows, columns = grey_HW.shape
    if min(rows, columns) >= JUDGED_SIDE:
        return _check_picture(grey_HW, levels, preprocessing)
    return resize(grey_HW, min(rows, JUDGED_SIDE), min(columns, JUDGED_SIDE), "area")


def _check_picture(
    grey_HW: NDArray[np.uint8], levels: dict[int, NDArray[np.uint8]], preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """The picture for the film check, uint8 [256, 256]: a pyramid level if one fits."""
    squashed = preprocessing.fit == "squash" and preprocessing.filter == "area"
    if squashed and CHECK_SIDE in levels:
        return levels[CHECK_SIDE]
    return np.ascontiguousarray(resize(grey_HW, CHECK_SIDE, CHECK_SIDE, "area"))


def _preview(grey_HW: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    grey_HW = np.ascontiguousarray(grey_HW)
    rows, columns = shape_within(grey_HW.shape[0], grey_HW.shape[1], side)
    return np.ascontiguousarray(resize(grey_HW, rows, columns, "area"))


def _enlargement_warning(rows: int, columns: int, sizes: tuple[int, ...]) -> tuple[ImageWarning, ...]:
    enlarged = enlarged_sizes(rows, columns, sizes)
    if not enlarged:
        return ()
    scales = ", ".join(map(str, enlarged))
    return (
        ImageWarning(
            code=WarningCode.ENLARGED,
            message=f"The radiograph has {rows} × {columns} pixels and was enlarged for the scales {scales}: "
            "they see no more detail than it holds. Send the image at its native size where there is one.",
        ),
    )
