"""Augmentation: what is known exactly comes out exactly, and places go along."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.training.fit_samples import FRACTURE, squares
from training.fit.augment import Changes, _perspective, _rotation, change_images, change_places, draw_changes
from training.recipes import Augmentation

EVERYTHING = Augmentation(
    flip=True, rotation_degrees=30, zoom=1.2, warp=0.2, shift=0.1, brightness=0.3, contrast=0.3
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 4, size: int = 64) -> Tensor:
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=generator(1))


def only_sampled(matrix_33: Tensor, count: int) -> Changes:
    return Changes(
        flip_B=torch.zeros(count, dtype=torch.bool),
        shift_B2=torch.zeros(count, 2),
        sampling_B33=matrix_33.float().expand(count, 3, 3),
        lighting_B2=None,
    )


def test_without_changes_the_images_stay_as_they_are() -> None:
    images = noise()
    assert change_images(images, draw_changes(Augmentation(), len(images), generator())) is images


def test_sampling_where_the_pixels_are_changes_nothing() -> None:
    images = noise()
    torch.testing.assert_close(
        change_images(images, only_sampled(torch.eye(3), 4)), images.float(), rtol=0, atol=0.01
    )


def test_no_chance_is_no_change() -> None:
    images = noise()
    never = Augmentation(rotation_degrees=30, zoom=1.2, warp=0.2, brightness=0.3, contrast=0.3, share=0)
    changed = change_images(images, draw_changes(never, len(images), generator()))
    torch.testing.assert_close(changed, images.float(), rtol=0, atol=0.05)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_a_quarter_turn(quarters: int) -> None:
    images = noise()
    matrix = _rotation(torch.tensor([math.pi / 2 * quarters]).double())[0]
    turned = change_images(images, only_sampled(matrix, 4))
    torch.testing.assert_close(turned, images.rot90(quarters, (2, 3)).float(), rtol=0, atol=0.02)


def test_rotation_stays_within_its_degrees_and_brings_in_black() -> None:
    white = torch.full((200, 1, 64, 64), 255, dtype=torch.uint8)
    changes = draw_changes(Augmentation(rotation_degrees=15), 200, generator())
    assert changes.sampling_B33 is not None
    degrees = torch.rad2deg(torch.atan2(changes.sampling_B33[:, 1, 0], changes.sampling_B33[:, 0, 0]))
    assert float(degrees.abs().max()) <= 15
    assert float(degrees.min()) < -13
    assert float(degrees.max()) > 13
    steepest = change_images(white, changes)[int(degrees.abs().argmax()), 0]
    assert float(steepest[0, 0]) == 0
    assert float(steepest[32, 32]) == pytest.approx(255)


def test_zoom_only_enlarges_and_never_looks_outside() -> None:
    white = torch.full((50, 1, 64, 64), 255, dtype=torch.uint8)
    changes = draw_changes(Augmentation(zoom=1.2), 50, generator())
    assert changes.sampling_B33 is not None
    scale_B = changes.sampling_B33[:, 0, 0]
    assert float(scale_B.min()) >= 1 / 1.2
    assert float(scale_B.max()) <= 1
    inner = change_images(white, changes)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 255), rtol=0, atol=0.01)


def test_a_warp_moves_the_corners_as_it_says() -> None:
    matrix = _perspective(torch.tensor([[0.2, 0.0], [0.0, 0.2]]).double())
    corners = torch.tensor([[-1, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, 1]]).double()
    moved = torch.einsum("bij,cj->bci", matrix, corners)
    moved = moved[..., :2] / moved[..., 2:]
    # Tilted about one axis: the left edge shrinks, the right one grows; about the other: the top, the bottom.
    about_one = torch.tensor([[-1, -0.8], [-1, 0.8], [1, -1.2], [1, 1.2]]).double()
    torch.testing.assert_close(moved[0], about_one)
    torch.testing.assert_close(moved[1], torch.tensor([[-0.8, -1], [-1.2, 1], [0.8, -1], [1.2, 1]]).double())


def test_light_leaves_black_black_and_white_white_and_the_order_of_greys() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(20, 1, 16, 16)
    lit = change_images(ramp, draw_changes(Augmentation(brightness=0.3, contrast=0.3), 20, generator()))
    flat = lit.reshape(20, 256)
    assert float(flat[:, 0].max()) < 0.5
    assert float(flat[:, 255].min()) > 254.5
    assert bool((flat.diff(dim=1) >= 0).all())
    assert float(flat[:, 128].std()) > 5


def test_the_same_generator_draws_the_same_and_each_image_its_own() -> None:
    images = noise(2).expand(2, 1, 64, 64).clone()
    images[1] = images[0]
    one, same, other = (
        change_images(images, draw_changes(EVERYTHING, 2, generator(seed))) for seed in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize(("flip", "shift_cells"), [(False, 0), (True, 0), (True, 6)])
def test_places_move_with_the_image(flip: bool, shift_cells: int) -> None:
    samples = squares()
    assert samples.locations_NFGG is not None
    changes = draw_changes(Augmentation(flip=flip, shift_cells=shift_cells), 8, generator())
    images = change_images(torch.from_numpy(samples.level_NSS)[:, None], changes)
    places = change_places(torch.from_numpy(samples.locations_NFGG), changes)
    assert images.dtype == torch.uint8
    grid = functional.adaptive_max_pool2d(places.float(), 4).numpy()
    for image, place, label in zip(images.numpy(), grid, samples.labels_NF, strict=True):
        rows, columns = np.nonzero(image[0] == 255)
        assert bool(place[FRACTURE][rows // 32, columns // 32].all())
        assert len(rows) == 16 * label[FRACTURE]
    moved = not np.array_equal(images[:, 0].numpy(), samples.level_NSS)
    assert moved == (flip or shift_cells > 0)


@pytest.mark.parametrize(
    ("name", "value"), [("zoom", 0.5), ("rotation_degrees", 181), ("share", 2), ("contrast", 1)]
)
def test_a_value_out_of_range_is_refused_with_the_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; expected"):
        Augmentation(**{name: value})  # type: ignore[arg-type]


def test_each_change_is_drawn_for_itself() -> None:
    """fastai draws p = 0.75 for each: 1.6 % of the images are moved by none of three, 6.3 % are not lit."""
    config = Augmentation(rotation_degrees=20, zoom=1.2, warp=0.2, brightness=0.3, contrast=0.3, share=0.75)
    changes = draw_changes(config, 40_000, generator())
    assert changes.sampling_B33 is not None
    assert changes.lighting_B2 is not None
    unmoved_B = (changes.sampling_B33 == torch.eye(3)).all((1, 2))
    unlit_B = (changes.lighting_B2 == torch.tensor([1.0, 0.0])).all(1)
    assert unmoved_B.double().mean().item() == pytest.approx(0.25**3, abs=0.003)
    assert unlit_B.double().mean().item() == pytest.approx(0.25**2, abs=0.006)
    # Brightness without contrast, and the other way round.
    assert ((changes.lighting_B2[:, 0] == 1) & (changes.lighting_B2[:, 1] != 0)).double().mean() > 0.15
    assert ((changes.lighting_B2[:, 0] != 1) & (changes.lighting_B2[:, 1] == 0)).double().mean() > 0.15


def test_what_comes_in_at_an_edge_is_black_or_the_reflection() -> None:
    white = torch.full((1, 1, 64, 64), 255, dtype=torch.uint8)
    for border, least in (("black", 0), ("reflection", 255)):
        config = Augmentation(rotation_degrees=45, border=border)  # type: ignore[arg-type]
        turned = change_images(white, draw_changes(config, 1, generator()))
        assert turned.min().item() == pytest.approx(least, abs=1)
