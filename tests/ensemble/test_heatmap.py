"""Tests of the heatmaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrserve.ensemble.heatmap import ensemble_map, lay_over, to_grey
from cxrserve.imaging.pyramid import Preprocessing, build_pyramid, placement, shape_within
from cxrserve.imaging.types import Fit


def _one_cell(side: int, row: int, column: int) -> np.ndarray:
    grid = np.zeros((side, side), np.float32)
    grid[row, column] = 1
    return grid


def _centre(picture: np.ndarray) -> tuple[float, float]:
    """Centre of mass, as fractions of height and width."""
    rows, columns = np.indices(picture.shape)
    total = picture.sum()
    return (
        float(((rows + 0.5) * picture).sum() / total / picture.shape[0]),
        float(((columns + 0.5) * picture).sum() / total / picture.shape[1]),
    )


def test_the_map_is_the_weighted_sum_without_the_negative() -> None:
    maps = {64: np.array([[4.0, -8.0], [0.0, 2.0]], np.float32), 32: np.array([[1.0]], np.float32)}
    together = ensemble_map(maps, {64: 0.5, 32: 1.0})
    np.testing.assert_allclose(together, [[3.0, 0.0], [1.0, 2.0]])


@pytest.mark.parametrize("cells", [(8, 16), (8, 64), (16, 64)])
def test_coarse_and_fine_grids_cover_the_same_square(cells: tuple[int, int]) -> None:
    coarse, fine = cells
    ratio = fine // coarse
    inner = _one_cell(coarse, coarse // 2, coarse // 4)
    block = np.zeros((fine, fine), np.float32)
    block[coarse // 2 * ratio :, coarse // 4 * ratio :][:ratio, :ratio] = 1
    enlarged = ensemble_map(
        {32 * coarse: inner, 32 * fine: np.zeros_like(block)}, {32 * coarse: 1, 32 * fine: 1}
    )
    assert _centre(enlarged) == pytest.approx(_centre(block), abs=1e-4)


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize(("rows", "columns"), [(3056, 2500), (600, 1000), (512, 512), (1000, 333)])
@settings(max_examples=25, deadline=None)
@given(where=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)))
def test_a_bright_place_in_the_level_is_the_same_place_in_the_picture(
    fit: Fit, rows: int, columns: int, where: tuple[float, float]
) -> None:
    """A spot drawn on the radiograph goes through the pyramid, and its map comes back to where it was."""
    radiograph = np.zeros((rows, columns), np.uint8)
    row, column = int(where[0] * rows), int(where[1] * columns)
    spot = max(rows, columns) // 20
    radiograph[max(0, row - spot) : row + spot, max(0, column - spot) : column + spot] = 255
    preprocessing = Preprocessing(profile="linear", fit=fit, filter="area", sizes=(512,))
    grid = build_pyramid(radiograph, preprocessing)[512].astype(np.float32)
    height, width = shape_within(rows, columns, 512)
    picture = lay_over(grid, placement(rows, columns, fit), height, width)
    assert _centre(picture) == pytest.approx(_centre(radiograph.astype(np.float32)), abs=0.004)


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_pictures_keep_the_aspect(rows: int, columns: int) -> None:
    height, width = shape_within(rows, columns, 512)
    assert 1 <= max(height, width) <= 512
    assert abs(height - rows * max(height, width) / max(rows, columns)) <= 1


def test_one_scale_for_all() -> None:
    picture = np.array([[0.0, 0.5, 1.0, 7.0]], np.float32)
    assert to_grey(picture, full_strength=4.0).tolist() == [[0, 90, 128, 255]]


def test_what_a_centre_crop_cut_off_has_no_evidence() -> None:
    place = placement(300, 200, "centre-crop")
    picture = lay_over(np.ones((8, 8), np.float32), place, 300, 200)
    assert (picture[:50] == 0).all()
    assert (picture[250:] == 0).all()
    np.testing.assert_allclose(picture[50:250], 1, rtol=1e-6)
