"""From bytes to everything that a network and a viewer need: the one way into imaging."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.content import JUDGED_SIDE, check_content
from cxrserve.imaging.dicom import read_dicom
from cxrserve.imaging.jpeg import read_jpeg
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.png import read_png
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.imaging.profiles import apply_profile
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
    data: bytes, preprocessing: Preprocessing, limits: Limits, *, preview_side: int = 0
) -> PreparedImage:
    """Decode `data`, apply the profile, build the pyramid, and a preview if `preview_side` is not 0.

    Raises:
        RequestError, UnsupportedFormat, TooLarge, ImageError: see `cxrserve.errors`.
    """
    started = time.perf_counter()
    radiograph = read_radiograph(data, limits)
    decoded = time.perf_counter()
    grey_HW, profile_steps = apply_profile(radiograph, preprocessing.profile)
    rows, columns = grey_HW.shape
    levels = build_pyramid(grey_HW, preprocessing)
    check_content(grey_HW, _small(grey_HW, levels, preprocessing))
    preview_HW = _preview(grey_HW, preview_side) if preview_side else None
    finished = time.perf_counter()
    return PreparedImage(
        about=radiograph.about,
        applied=radiograph.steps + profile_steps + pyramid_steps(rows, columns, preprocessing),
        warnings=radiograph.warnings + _enlargement_warning(rows, columns, preprocessing.sizes),
        levels=levels,
        preview_HW=preview_HW,
        timing_ms={"decode": (decoded - started) * 1e3, "pyramid": (finished - decoded) * 1e3},
    )


def _small(
    grey_HW: NDArray[np.uint8], levels: dict[int, NDArray[np.uint8]], preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """The picture that the content is judged by, the same under any bundle: a level where that is one."""
    rows, columns = grey_HW.shape
    as_judged = preprocessing.fit == "squash" and preprocessing.filter == "area"
    if as_judged and JUDGED_SIDE in levels and min(rows, columns) >= JUDGED_SIDE:
        return levels[JUDGED_SIDE]
    return resize(grey_HW, min(rows, JUDGED_SIDE), min(columns, JUDGED_SIDE), "area")


def _preview(grey_HW: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    rows, columns = shape_within(grey_HW.shape[0], grey_HW.shape[1], side)
    return np.ascontiguousarray(resize(grey_HW, rows, columns, "area"))


def _enlargement_warning(rows: int, columns: int, sizes: tuple[int, ...]) -> tuple[str, ...]:
    enlarged = enlarged_sizes(rows, columns, sizes)
    if not enlarged:
        return ()
    scales = ", ".join(map(str, enlarged))
    return (
        f"The radiograph has {rows} × {columns} pixels and was enlarged for the scales {scales}: they see no "
        "more detail than it holds. Send the image at its native size where there is one.",
    )
