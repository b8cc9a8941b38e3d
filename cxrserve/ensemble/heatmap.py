"""Heatmaps: Grad-CAM of the ensemble, computed from the maps that the graphs output; no backward pass.

A member's map holds w_fk A_k summed over channels, and its mean plus a constant is the logit; so the
gradient of the logit with respect to A is w_fk, up to 1/(h·w), and Grad-CAM is ReLU of the map (Selvaraju
et al. 2017). The ensemble's is the ReLU of the members' maps, weighted by `stack.evidence_weights`.

The raw scale is kept: nats of −log(1 − p), if the whole picture looked as this place does.

Legend: F findings, S scales, G side of the finest grid, h and w of the picture made.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import HeatmapCurve
from cxrserve.imaging.pyramid import Placement

Map = NDArray[np.float32]


def ensemble_map(maps: Mapping[int, Map], weights: Mapping[int, float]) -> Map:
    """One finding's map over all scales, float32 [G, G], ≥ 0.

    Args:
        maps: by size, the finding's raw map, float32 [S/32, S/32].
        weights: by size, from `stack.evidence_weights`.
    """
    side = max(grid.shape[-1] for grid in maps.values())
    total_GG = np.zeros((side, side), np.float32)
    for size, grid in maps.items():
        # Bilinear on cell centres: every grid covers the same square, whatever its number of cells.
        total_GG += np.float32(weights[size]) * cv2.resize(grid, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.maximum(total_GG, 0)


def scale_maps(maps: Mapping[int, Map], weights: Mapping[int, float]) -> dict[int, Map]:
    """The share of each scale in one finding's map: by size, weight × ReLU(map), float32 [S/32, S/32], ≥ 0.

    Each is on its scale's own grid and in the ensemble's unit, nats, so that the scales can be compared.
    Enlarged and summed they lie at or above `ensemble_map`, which lets one scale speak against another
    before it clips; where no scale does, they are equal to it.
    """
    return {size: np.maximum(np.float32(weights[size]) * grid, 0) for size, grid in maps.items()}


def lay_over(grid_GG: Map, position: Placement, height: int, width: int) -> Map:
    """`grid_GG` of the square level, laid over the radiograph: float32 [height, width], pixel to pixel.

    Undoes the fit: the part of the square where the radiograph lies fills the picture. What a centre crop
    cut off was not seen, and has no evidence.
    """
    side = grid_GG.shape[0]
    step_x, step_y = position.width * side / width, position.height * side / height
    to_grid = np.array(
        [
            [step_x, 0.0, position.left * side + step_x / 2 - 0.5],
            [0.0, step_y, position.top * side + step_y / 2 - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(grid_GG, to_grid, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    picture: Map = laid.astype(np.float32, copy=False)
    picture[_unseen(position.top, position.height, height)] = 0
    picture[:, _unseen(position.left, position.width, width)] = 0
    return picture


def _unseen(first: float, extent: float, pixels: int) -> NDArray[np.bool_]:
    """Along one axis: which of `pixels`, laid from `first` over `extent` of the square, are outside it."""
    middles = first + (np.arange(pixels) + 0.5) * extent / pixels
    return (middles < 0) | (middles > 1)


def to_grey(picture_hw: Map, full_strength: float, curve: HeatmapCurve = "square-root") -> NDArray[np.uint8]:
    """The picture as uint8 on one raw scale, 255 for all above `full_strength`.

    On the linear curve value = full_strength · grey / 255: for a scale that is the finding's own. On the
    square-root curve value = full_strength · (grey / 255)²: for one scale of all findings. The square root
    is for the eye: an enlarged heart spreads over a thousand times the area of a hairline
    fracture, and its evidence at each place is as much fainter. On a linear scale it would not be seen.
    """
    strength_hw = (picture_hw / full_strength).clip(0, 1)
    if curve == "square-root":
        strength_hw = np.sqrt(strength_hw)
    grey_hw: NDArray[np.uint8] = np.rint(strength_hw * 255).astype(np.uint8)
    return grey_hw
