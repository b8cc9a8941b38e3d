"""The pyramid: one 8-bit radiograph, seen at every size the members want.

One resize brings the radiograph to the largest size; each size that is half of another is its exact 2×2
mean. Training and serving both come through here.

Legend: H, W rows and columns of the radiograph; S the side of a level.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cxrserve.imaging.types import Filter, Fit, Pictures, ProfileName

Grey = NDArray[np.uint8]

_SHRINK: Final = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}
_ENLARGE: Final = {"area": cv2.INTER_LINEAR, "bilinear": cv2.INTER_LINEAR}


class Preprocessing(BaseModel):
    """Preprocessing of every radiograph before the networks. Part of the bundle's contract."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: ProfileName = Field(description="How stored values become 8-bit grey: of every DICOM file.")
    pictures: Pictures = Field(
        "profile",
        description="JPEG and PNG files of 8 bits: profile treats them as DICOM; final takes their grey as "
        "it is, as published pictures went through such a profile before. Of more bits: always the profile.",
    )
    fit: Fit = Field(
        "squash",
        description="squash fills the square; letterbox keeps the aspect, black around; centre-crop keeps "
        "the aspect and the middle, what lies beyond the shorter side is not seen.",
    )
    filter: Filter = Field("area", description="Filter of the one resize; levels below are 2×2 means.")
    sizes: tuple[int, ...] = Field(min_length=1, description="Sides of the levels, ascending.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Position of the radiograph in the square, as fractions of its side; used to map heatmaps back.

    Under centre-crop the longer side reaches out of the square on both ends: negative top or left.
    """

    top: float
    left: float
    height: float
    width: float


def placement(rows: int, columns: int, fit: Fit) -> Placement:
    """Position of a radiograph of `rows` × `columns` in a square level under `fit`."""
    if fit == "squash":
        return Placement(top=0.0, left=0.0, height=1.0, width=1.0)
    side = min(rows, columns) if fit == "centre-crop" else max(rows, columns)
    height, width = rows / side, columns / side
    return Placement(top=(1 - height) / 2, left=(1 - width) / 2, height=height, width=width)


def resize(grey_HW: Grey, rows: int, columns: int, filter_: Filter) -> Grey:
    """`grey_HW` at `rows` × `columns`; an axis that shrinks is filtered, one that grows is interpolated.

    The two axes are done apart where one shrinks and the other grows: OpenCV's area filter would quietly
    turn into bilinear for both. Lanczos is Pillow's, whose filter widens with the factor; OpenCV's always
    looks at 8 × 8 pixels, and aliases.
    """
    if filter_ == "lanczos":
        from PIL import Image  # the pool of workers, which knows the levels' sizes, loads no decoder

        picture = Image.fromarray(grey_HW).resize((columns, rows), Image.Resampling.LANCZOS)
        return np.asarray(picture, np.uint8).copy()
    fewer_rows, fewer_columns = min(rows, grey_HW.shape[0]), min(columns, grey_HW.shape[1])
    if (fewer_rows, fewer_columns) != grey_HW.shape:
        grey_HW = _resized(grey_HW, fewer_rows, fewer_columns, _SHRINK[filter_])
    if (rows, columns) != grey_HW.shape:
        grey_HW = _resized(grey_HW, rows, columns, _ENLARGE[filter_])
    return grey_HW


def _resized(grey_HW: Grey, rows: int, columns: int, interpolation: int) -> Grey:
    return cv2.resize(grey_HW, (columns, rows), interpolation=interpolation).astype(np.uint8, copy=False)


def halve(level_SS: Grey) -> Grey:
    """The exact 2×2 mean, halves rounded up."""
    side = level_SS.shape[0] // 2
    return _resized(level_SS, side, side, cv2.INTER_AREA)


def build_pyramid(grey_HW: Grey, preprocessing: Preprocessing) -> dict[int, Grey]:
    """Every level of `preprocessing.sizes`, each uint8 [S, S], C-contiguous, ascending by size."""
    levels: dict[int, Grey] = {}
    for size in sorted(set(preprocessing.sizes), reverse=True):
        double = levels.get(2 * size)
        levels[size] = halve(double) if double is not None else _fitted(grey_HW, size, preprocessing)
    return {size: np.ascontiguousarray(levels[size]) for size in sorted(levels)}


def _fitted(grey_HW: Grey, size: int, preprocessing: Preprocessing) -> Grey:
    rows, columns = grey_HW.shape
    if preprocessing.fit == "squash":
        return resize(grey_HW, size, size, preprocessing.filter)
    if preprocessing.fit == "centre-crop":
        return resize(_middle(grey_HW), size, size, preprocessing.filter)
    position = placement(rows, columns, preprocessing.fit)
    inner_rows, inner_columns = max(1, round(position.height * size)), max(1, round(position.width * size))
    top, left = (size - inner_rows) // 2, (size - inner_columns) // 2
    level_SS = np.zeros((size, size), np.uint8)
    level_SS[top : top + inner_rows, left : left + inner_columns] = resize(
        grey_HW, inner_rows, inner_columns, preprocessing.filter
    )
    return level_SS


def _middle(grey_HW: Grey) -> Grey:
    """The square in the middle; as TorchXRayVision's XRayCenterCrop has it, to the pixel."""
    rows, columns = grey_HW.shape
    side = min(rows, columns)
    top, left = rows // 2 - side // 2, columns // 2 - side // 2
    return grey_HW[top : top + side, left : left + side]


def shape_within(rows: int, columns: int, side: int) -> tuple[int, int]:
    """Rows and columns of a smaller picture: the aspect kept, no side over `side`, never enlarged."""
    longest = max(rows, columns)
    if longest <= side:
        return rows, columns
    return max(1, round(rows * side / longest)), max(1, round(columns * side / longest))


def enlarged_sizes(rows: int, columns: int, sizes: Iterable[int]) -> tuple[int, ...]:
    """The sizes for which a radiograph of `rows` × `columns` had to be enlarged along its longer side."""
    return tuple(size for size in sorted(sizes) if size > max(rows, columns))


def pyramid_steps(rows: int, columns: int, preprocessing: Preprocessing) -> tuple[str, ...]:
    """Names of the steps of `build_pyramid` for a radiograph of `rows` × `columns`, in order."""
    finished: set[int] = set()
    steps: list[str] = []
    for size in sorted(set(preprocessing.sizes), reverse=True):
        if 2 * size in finished:
            steps.append(f"mean-2x2-to-{size}")
        else:
            steps.append(f"{preprocessing.fit}-{preprocessing.filter}-{rows}x{columns}-to-{size}x{size}")
        finished.add(size)
    return tuple(steps)
