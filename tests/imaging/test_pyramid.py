"""The pyramid: each level is what it says, whichever way the radiograph lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cxrserve.imaging.pyramid import (
    Preprocessing,
    build_pyramid,
    enlarged_sizes,
    halve,
    placement,
    pyramid_steps,
    resize,
)

Pixels = np.ndarray[Any, Any]
SHAPES = [(600, 500), (500, 600), (64, 900), (900, 64), (100, 90), (512, 512), (511, 513)]


def noise(rows: int, columns: int) -> Pixels:
    return np.random.default_rng(rows * 31 + columns).integers(0, 256, (rows, columns), np.uint8)


def area_weights(source: int, target: int) -> Pixels:
    """[target, source]: how much of each source pixel lies in each target pixel."""
    edges = np.arange(target + 1) * source / target
    covered = np.minimum(edges[1:, None], np.arange(1, source + 1)) - np.maximum(
        edges[:-1, None], np.arange(source)
    )
    weights = np.clip(covered, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def bilinear_weights(source: int, target: int) -> Pixels:
    """[target, source]: linear between pixel centres, the edge repeated."""
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.asarray(np.clip(1 - np.abs(centres[:, None] - np.arange(source)), 0, 1))


def reference(grey_HW: Pixels, rows: int, columns: int) -> Pixels:
    """Shrinking axes by area, growing ones linearly."""

    def weights(source: int, target: int) -> Pixels:
        return area_weights(source, target) if target <= source else bilinear_weights(source, target)

    down, right = weights(grey_HW.shape[0], rows), weights(grey_HW.shape[1], columns)
    return np.asarray(down @ grey_HW.astype(np.float64) @ right.T)


def preprocessing(**options: Any) -> Preprocessing:
    return Preprocessing(**{"profile": "linear", "sizes": (64, 128, 256, 512)} | options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", [(512, 512), (300, 300), (128, 1000), (700, 700)])
def test_area_is_the_mean_of_what_is_covered(shape: tuple[int, int], target: tuple[int, int]) -> None:
    grey_HW = noise(*shape)
    found = resize(grey_HW, *target, "area")
    # Two roundings where one axis shrinks and the other grows, and OpenCV's fixed-point bilinear.
    assert np.abs(found - reference(grey_HW, *target)).max() <= 2


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("shape", SHAPES)
def test_lower_levels_are_exact_means(shape: tuple[int, int], fit: str) -> None:
    levels = build_pyramid(noise(*shape), preprocessing(fit=fit))
    assert list(levels) == [64, 128, 256, 512]
    for size, level_SS in levels.items():
        assert level_SS.shape == (size, size)
        assert level_SS.dtype == np.uint8
        assert level_SS.flags.c_contiguous
        if size < 512:
            double = levels[2 * size].astype(np.uint16).reshape(size, 2, size, 2)
            assert np.array_equal(level_SS, (double.sum(axis=(1, 3)) + 2) // 4)


def test_halves_round_up() -> None:
    assert halve(np.array([[0, 1], [1, 0]], np.uint8)).tolist() == [[1]]
    assert halve(np.array([[1, 0], [0, 0]], np.uint8)).tolist() == [[0]]


def test_sizes_that_are_no_halves_come_from_the_radiograph() -> None:
    grey_HW = noise(600, 500)
    levels = build_pyramid(grey_HW, preprocessing(sizes=(300, 512)))
    assert np.array_equal(levels[300], resize(grey_HW, 300, 300, "area"))


@pytest.mark.parametrize("shape", SHAPES)
def test_letterbox_keeps_the_aspect_and_is_black_around(shape: tuple[int, int]) -> None:
    level_SS = build_pyramid(np.full(shape, 200, np.uint8), preprocessing(fit="letterbox", sizes=(512,)))[512]
    place = placement(*shape, "letterbox")
    inside = np.zeros((512, 512), bool)
    top, left = round(place.top * 512 + 1e-9), round(place.left * 512 + 1e-9)
    inside[top : top + round(place.height * 512), left : left + round(place.width * 512)] = True
    assert (level_SS != np.where(inside, 200, 0)).mean() < 0.005  # half pixels at the edges
    assert place.height / place.width == pytest.approx(shape[0] / shape[1])
    assert max(place.height, place.width) == 1


def test_squash_fills_the_square() -> None:
    assert placement(600, 500, "squash") == placement(10, 10, "letterbox")


def test_steps_name_each_level_in_the_order_it_is_made() -> None:
    assert pyramid_steps(600, 500, preprocessing(sizes=(256, 512, 300))) == (
        "squash-area-600x500-to-512x512",
        "squash-area-600x500-to-300x300",
        "mean-2x2-to-256",
    )


def test_enlarged_sizes_are_those_beyond_the_longer_side() -> None:
    assert enlarged_sizes(600, 500, (256, 512, 1024, 2048)) == (1024, 2048)
    assert enlarged_sizes(3056, 2500, (256, 2048)) == ()


@pytest.mark.parametrize("shape", [(301, 200), (200, 301), (256, 256)])
def test_a_centre_crop_is_the_middle_square(shape: tuple[int, int]) -> None:
    """As TorchXRayVision's XRayCenterCrop cuts it."""
    grey = noise(*shape)
    side = min(shape)
    top, left = shape[0] // 2 - side // 2, shape[1] // 2 - side // 2
    middle = grey[top : top + side, left : left + side]
    expected = build_pyramid(middle, preprocessing(fit="squash", sizes=(128,)))
    found = build_pyramid(grey, preprocessing(fit="centre-crop", sizes=(128,)))
    assert np.array_equal(found[128], expected[128])
