"""Outlines lie where the evidence lies, in pixels of the stored image."""

from __future__ import annotations

import numpy as np
import pytest

from cxrserve.ensemble.heatmap import lay_over
from cxrserve.imaging.pyramid import placement, shape_within
from cxrserve.imaging.types import Fit
from cxrserve.reports.dicom.objects import Region
from cxrserve.reports.dicom.regions import regions

ROWS, COLUMNS = 3000, 2000


def outlines(spots: dict[tuple[float, float], float], fit: Fit) -> tuple[Region, ...]:
    """Regions of round spots, each at (column, row) in pixels of the image and with its peak."""
    place = placement(ROWS, COLUMNS, fit)
    down, across = np.mgrid[0:64, 0:64] + 0.5
    grid_GG = np.zeros((64, 64), np.float32)
    for (column, row), peak in spots.items():
        x = (place.left + column / COLUMNS * place.width) * 64
        y = (place.top + row / ROWS * place.height) * 64
        grid_GG += (peak * np.exp(-((across - x) ** 2 + (down - y) ** 2) / 8)).astype(np.float32)
    height, width = shape_within(ROWS, COLUMNS, 512)
    return regions(lay_over(grid_GG, place, height, width), ROWS, COLUMNS)


def middle(region: Region) -> tuple[float, float]:
    points = np.array(region.points)
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("spot", [(500.0, 900.0), (1500.0, 2400.0), (1000.0, 600.0)])
def test_an_outline_surrounds_its_spot(fit: Fit, spot: tuple[float, float]) -> None:
    (region,) = outlines({spot: 2.0}, fit)
    assert middle(region) == pytest.approx(spot, abs=25)  # half a cell of the grid
    assert region.points[0] == region.points[-1]
    assert 0.4 < region.share < 0.6  # of a Gaussian, half lies within its half maximum


def test_the_strongest_comes_first_and_what_is_weak_is_left_out() -> None:
    found = outlines({(400.0, 600.0): 1.5, (1500.0, 2400.0): 2.0, (1500.0, 500.0): 0.6}, "squash")
    assert [middle(region) for region in found] == [
        pytest.approx((1500, 2400), abs=30),
        pytest.approx((400, 600), abs=30),
    ]


def test_what_is_spread_or_absent_has_no_place() -> None:
    flat = np.ones((512, 341), np.float32)
    assert regions(flat, ROWS, COLUMNS) == ()
    assert regions(flat * 0, ROWS, COLUMNS) == ()
