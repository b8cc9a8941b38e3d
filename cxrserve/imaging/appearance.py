"""Doubts about a picture that need no network: borders, empty parts, several images, a wasted grey range.

Asked of a coarse sample of the stored values (every n-th pixel), which costs no time that can be measured on
a radiograph of ten million pixels. Of 250 public radiographs none comes near a bound: the widest border has
15 % of the area, the narrowest range 86 levels, columns over rows are 0.83 to 1.35, the largest step near the
middle is 12 levels.

Legend: S_hw the sample, scaled to 0 to 255 between the lowest and the highest stored value.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.radiograph import Radiograph
from cxrserve.warnings import ImageWarning, WarningCode

Sample = NDArray[np.float32]

_SAMPLED_SIDE: Final = 384
_SAME_GREY: Final = 5  # of 255: JPEG moves an even border by as much
_SHARE_OF_LINE: Final = 0.8  # of a line that is border all along: labels may stand in it
_SHARE_OF_EDGE: Final = 0.95
_MAX_BORDER: Final = 0.2  # of the picture's area
_MAX_EMPTY: Final = 0.16  # of a side
_MAX_REPEATED: Final = 0.03  # of the rows
_MIN_LEVELS: Final = 64  # of 256
_LEAST_IN_LEVEL: Final = 1 / 5000  # of the pixels
_MIN_RATIO: Final = 0.65  # columns over rows
_MAX_RATIO: Final = 1.45
_SEAM_REGION: Final = (0.35, 0.65)
_SEAM_STEP: Final = 16  # grey levels, in the median over the seam
_SEAM_TIMES: Final = 3  # the step at the seam over the usual one
_GAP_SHARE: Final = 0.95
# From this on, of 255, a strip may be the mediastinum of a film whose range it exceeds, white all the way.
# The edges of the mediastinum are soft; a white gap between two images has hard ones, which are a step.
_DENSE: Final = 230


class Borders(NamedTuple):
    """Shares of the rows and columns that are even, at each side."""

    top: float
    bottom: float
    left: float
    right: float

    @property
    def area(self) -> float:
        """Share of the picture's area."""
        return 1 - max(1 - self.top - self.bottom, 0) * max(1 - self.left - self.right, 0)


def appearance_warnings(radiograph: Radiograph, *, full_range: bool) -> tuple[ImageWarning, ...]:
    """Every doubt about the picture of `radiograph`.

    `full_range`: the profile divides by the largest value that the bits allow, not by the largest there is.
    """
    pixels_HW = radiograph.pixels_HW
    lowest, highest = radiograph.extremes
    if lowest == highest:
        return ()
    rows, columns = pixels_HW.shape
    sampled = pixels_HW[:: max(1, rows // _SAMPLED_SIDE), :: max(1, columns // _SAMPLED_SIDE)]
    sample_hw = (sampled.astype(np.float32) - lowest) * np.float32(255 / (highest - lowest))
    dense_hw = sample_hw if not radiograph.inverted_by else 255 - sample_hw
    wasted = _grey_range(sample_hw)
    return (
        *wasted,
        *(_dark_range(radiograph.about.bits_stored, lowest, highest) if full_range else ()),
        *_shape(rows, columns),
        # In a few grey levels, everything looks even.
        *(() if wasted else (*_frame(sample_hw), *_seams(sample_hw, dense_hw))),
    )


def _warning(code: WarningCode, message: str) -> tuple[ImageWarning, ...]:
    return (ImageWarning(code=code, message=message),)


def _grey_range(sample_hw: Sample) -> tuple[ImageWarning, ...]:
    counts = np.bincount(sample_hw.astype(np.uint8).ravel(), minlength=256)
    levels = int((counts >= max(2, _LEAST_IN_LEVEL * sample_hw.size)).sum())
    if levels >= _MIN_LEVELS:
        return ()
    return _warning(
        WarningCode.GREY_RANGE_WASTED,
        f"The radiograph takes {levels} of 256 grey levels: a few very bright or dark pixels, a marker or "
        "padding take the rest of the range. Send it without them, or with its original grey values.",
    )


def _dark_range(bits: int, lowest: int, highest: int) -> tuple[ImageWarning, ...]:
    used = max(highest - min(lowest, 0), 1).bit_length()
    if bits - used < 2:
        return ()
    return _warning(
        WarningCode.DARK_RANGE,
        f"The image has {bits} bits, but its largest value needs {used}: under this profile the networks see "
        "it dark. Send it with its true bit depth.",
    )


def borders(sample_hw: Sample) -> Borders:
    """The even parts at each side of a picture."""
    height, width = sample_hw.shape
    top, bottom = _even_lines(sample_hw), _even_lines(sample_hw[::-1])
    if top + bottom >= height:
        return Borders(top=1.0, bottom=0.0, left=0.0, right=0.0)
    inner_hw = sample_hw[top : height - bottom]
    left, right = _even_lines(inner_hw.T), _even_lines(inner_hw.T[::-1])
    return Borders(top=top / height, bottom=bottom / height, left=left / width, right=right / width)


def _even_lines(lines: Sample) -> int:
    """Number of lines from the first on that have the grey of the first, which must be even itself."""
    grey = np.median(lines[0])
    shares = (np.abs(lines - grey) <= _SAME_GREY).mean(axis=1)
    if shares[0] < _SHARE_OF_EDGE:
        return 0
    other = np.flatnonzero(shares < _SHARE_OF_LINE)
    return int(other[0]) if len(other) else len(lines)


def _frame(sample_hw: Sample) -> tuple[ImageWarning, ...]:
    frame = borders(sample_hw)
    repeated = _repeated_rows(sample_hw)
    if repeated > _MAX_REPEATED and frame.bottom <= _MAX_EMPTY:
        return _warning(
            WarningCode.EMPTY_PART,
            f"The lower {repeated:.0%} of the picture repeat one row: the image seems to have arrived in "
            "part, truncated. Send it again from its source.",
        )
    sides = [name for name in Borders._fields if getattr(frame, name) > 0.01]
    widest = max(frame)
    if widest > _MAX_EMPTY and (len(sides) == 1 or widest > 0.8 * sum(frame)):
        side = Borders._fields[frame.index(widest)]
        return _warning(
            WarningCode.EMPTY_PART,
            f"A part of the picture is empty: {widest:.0%} of it at the {side} are flat grey. The image may "
            "be truncated, or surrounded by a border. Send the whole radiograph, and nothing else.",
        )
    if frame.area > _MAX_BORDER:
        return _warning(
            WarningCode.BORDER,
            f"A plain border takes {frame.area:.0%} of the picture: the radiograph is but a part of it, and "
            "the networks see it smaller than those of their training. Crop the picture to the radiograph.",
        )
    return ()


def _repeated_rows(sample_hw: Sample) -> float:
    """Share of the rows, from the last one up, that are that row again; 0 where it is even."""
    if np.ptp(sample_hw[-1]) <= 2 * _SAME_GREY:
        return 0.0
    same = (sample_hw == sample_hw[-1]).all(axis=1)[::-1]
    different = np.flatnonzero(~same)
    return (int(different[0]) if len(different) else len(same)) / len(same)


def _shape(rows: int, columns: int) -> tuple[ImageWarning, ...]:
    if _MIN_RATIO <= columns / rows <= _MAX_RATIO:
        return ()
    return _warning(
        WarningCode.UNUSUAL_SHAPE,
        f"The picture has {rows} × {columns} pixels, which is not the shape of a chest radiograph: it may "
        "hold several images, or a part of one. Send one whole radiograph.",
    )


def _seams(sample_hw: Sample, dense_hw: Sample) -> tuple[ImageWarning, ...]:
    """Two images side by side, or one above the other.

    Args:
        dense_hw: the sample with what is dense as bright.
    """
    is_dense_w = np.median(dense_hw, axis=0) >= _DENSE
    # No organ lies across a chest from side to side.
    if not (_has_seam(sample_hw, is_dense_w) or _has_seam(sample_hw.T, np.zeros(len(sample_hw), bool))):
        return ()
    return _warning(
        WarningCode.SEVERAL_IMAGES,
        "A straight line divides the picture near its middle: it seems to hold two images side by side. Send "
        "each radiograph on its own.",
    )


def _has_seam(sample_hw: Sample, is_dense_w: NDArray[np.bool_]) -> bool:
    """Whether a line near the middle divides the picture, or an even strip does that may not be an organ."""
    width = sample_hw.shape[1]
    first, last = (round(share * width) for share in _SEAM_REGION)
    steps_hw = np.abs(np.diff(sample_hw[:, first:last], axis=1))
    steps = np.median(steps_hw, axis=0)
    if steps.max() > max(_SEAM_STEP, _SEAM_TIMES * float(np.median(steps_hw.mean(axis=0)))):
        return True
    middle_hw = sample_hw[:, first:last]
    even = (np.abs(middle_hw - np.median(middle_hw, axis=0)) <= _SAME_GREY).mean(axis=0) >= _GAP_SHARE
    gap = even & ~is_dense_w[first:last]
    # A picture that is even all over has no gap: both sides must hold something.
    return bool(gap.any() and not even[0] and not even[-1] and sample_hw.std() > 2 * _SAME_GREY)
