"""Outlines of the evidence in a heatmap, in pixels of the stored image.

The outline is at half of the finding's own maximum (full width at half maximum). It shows the evidence of
the networks, not the extent of a disease.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from cxrserve.ensemble.heatmap import Map
from cxrserve.reports.dicom.objects import Region

LEVEL: Final = 0.5  # of the largest value
_MAX_AREA: Final = 0.5  # of the picture: a larger area locates nothing
_MIN_SHARE: Final = 0.1  # of the evidence: a smaller region gets no outline
_MAX_REGIONS: Final = 3
_TOLERANCE: Final = 0.75  # pixels of the picture that a simplified outline may be off


def regions(picture_hw: Map, rows: int, columns: int) -> tuple[Region, ...]:
    """Outlines of the evidence in `picture_hw`, the strongest first; () where it is spread or absent.

    Args:
        picture_hw: raw heatmap over the whole radiograph, >= 0, from `heatmap.lay_over`.
        rows, columns: of the radiograph.
    """
    total, peak = float(picture_hw.sum()), float(picture_hw.max())
    if peak <= 0:
        return ()
    mask_hw = (picture_hw >= LEVEL * peak).astype(np.uint8)
    if mask_hw.mean() > _MAX_AREA:
        return ()
    outlines, _ = cv2.findContours(mask_hw, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    candidates = [_region(outline, picture_hw, total, rows, columns) for outline in outlines]
    strongest = sorted(
        (region for region in candidates if region), key=lambda region: region.share, reverse=True
    )
    return tuple(strongest[:_MAX_REGIONS])


def _region(
    outline: cv2.typing.MatLike, picture_hw: Map, total: float, rows: int, columns: int
) -> Region | None:
    inside_hw = cv2.drawContours(np.zeros(picture_hw.shape, np.uint8), [outline], -1, 1, cv2.FILLED)
    share = float(picture_hw[inside_hw > 0].sum()) / total
    simple = cv2.approxPolyDP(outline, _TOLERANCE, closed=True).reshape(-1, 2)
    if share < _MIN_SHARE or len(simple) < 3:
        return None
    height, width = picture_hw.shape
    # The middle of pixel (0, 0) is (0.5, 0.5) in PS3.3 C.18.6.1.2.
    points = [
        (round((x + 0.5) * columns / width, 1), round((y + 0.5) * rows / height, 1))
        for x, y in simple.tolist()
    ]
    return Region(points=(*points, points[0]), share=round(share, 4))
