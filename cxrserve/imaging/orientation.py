"""The eight ways in which a picture can lie, numbered as in Exif (1: upright), and the way back.

A number says how the stored picture must be turned to be shown upright. Patient directions (DICOM PS3.3
C.7.6.1.1.1) are a pair: where rows point to, and where columns point to.
"""

from __future__ import annotations

from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Orientation = Literal[1, 2, 3, 4, 5, 6, 7, 8]
Directions = tuple[str, str]
Scalar = TypeVar("Scalar", bound=np.generic)

# The turn that undoes each: quarter turns undo each other, all others undo themselves.
_INVERSE: Final[dict[Orientation, Orientation]] = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
_OPPOSITE: Final = str.maketrans("APRLHF", "PALRFH")
_BY_PREFERENCE: Final[tuple[Orientation, ...]] = (1, 3, 6, 8, 2, 4, 5, 7)  # turns before mirrors
_UPRIGHT: Final = (("L", "F"), ("A", "F"), ("P", "F"))  # a frontal radiograph, and a lateral one either way

NAMES: Final[dict[Orientation, str]] = {
    1: "not turned",
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored at its diagonal",
    6: "turned by 90° clockwise",
    7: "mirrored at its other diagonal",
    8: "turned by 90° counter-clockwise",
}


def upright(pixels_HW: NDArray[Scalar], orientation: Orientation) -> NDArray[Scalar]:
    """`pixels_HW` as it is to be shown; the same array where nothing has to be done."""
    if orientation == 1:
        return pixels_HW
    if orientation >= 5:
        pixels_HW = pixels_HW.T
    if orientation in (3, 4, 7, 8):
        pixels_HW = pixels_HW[::-1]
    if orientation in (2, 3, 6, 7):
        pixels_HW = pixels_HW[:, ::-1]
    return np.ascontiguousarray(pixels_HW)


def as_stored(shown_HW: NDArray[Scalar], orientation: Orientation) -> NDArray[Scalar]:
    """The inverse of `upright`: a picture or a map over the shown image, as it lies over the stored one."""
    return upright(shown_HW, _INVERSE[orientation])


def shown_point(
    column: float, row: float, stored_shape: tuple[int, int], orientation: Orientation
) -> tuple[float, float]:
    """A point over the stored image, in pixels from its corner, as a point over the shown one."""
    rows, columns = stored_shape
    if swaps_sides(orientation):
        column, row, rows, columns = row, column, columns, rows
    if orientation in (3, 4, 7, 8):
        row = rows - row
    if orientation in (2, 3, 6, 7):
        column = columns - column
    return column, row


def swaps_sides(orientation: Orientation) -> bool:
    """Whether rows become columns."""
    return orientation >= 5


def shown_directions(stored: Directions, orientation: Orientation) -> Directions:
    """Patient directions of the shown image, from those of the stored one."""
    across, down = (stored[1], stored[0]) if swaps_sides(orientation) else stored
    if orientation in (3, 4, 7, 8):
        down = down.translate(_OPPOSITE)
    if orientation in (2, 3, 6, 7):
        across = across.translate(_OPPOSITE)
    return across, down


def to_standard(stored: Directions) -> Orientation | None:
    """The turn after which columns point to the feet, and rows to the patient's left, front or back.

    None where the directions are those of no frontal and no lateral projection.
    """
    for orientation in _BY_PREFERENCE:
        across, down = shown_directions(stored, orientation)
        if (across[:1], down[:1]) in _UPRIGHT:
            return orientation
    return None
