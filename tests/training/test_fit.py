"""The pieces of the fit: losses on cells, crops, augmentation, the head's first calibration."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cxrserve.findings import INDEX
from training.cache import PyramidCache
from training.fit import batches, fit, load
from training.fit.calibrate import calibrate_head
from training.fit.crops import load_crops
from training.fit.losses import PLACED, cell_loss, drift_loss
from training.networks import SmallNetwork
from training.recipes import Augmentation, FitConfig, demo

SIZE = 128
FRACTURE = INDEX["Fracture"]
CONFIG = dataclasses.replace(demo().fits[256], crop_pixels=64, augment=Augmentation())


@pytest.fixture
def cache() -> PyramidCache:
    """Eight images of noise, each with a white square where its Fracture lies; odd ones have none."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 100, (8, SIZE, SIZE), np.uint8)
    places = np.zeros((8, 14, 64, 64), np.uint8)
    labels = np.zeros((8, 14), np.float32)
    for index in range(0, 8, 2):
        row, column = rng.integers(4, 60, 2)
        level[index, row * 2 : row * 2 + 4, column * 2 : column * 2 + 4] = 255
        places[index, FRACTURE, row : row + 2, column : column + 2] = 1
        labels[index, FRACTURE] = 1
    return PyramidCache(levels={SIZE: level}, labels_NF=labels, places_NFGG=places)


def white_in(image_SS: np.ndarray, places_hw: np.ndarray) -> bool:
    """The white square lies in a cell that is marked."""
    rows, columns = np.nonzero(image_SS == 255)
    return bool(places_hw[rows // 32, columns // 32].all())


@pytest.mark.parametrize(("flip", "shift_cells"), [(False, 0), (True, 0), (True, 6)])
def test_places_move_with_the_image(cache: PyramidCache, flip: bool, shift_cells: int) -> None:
    config = dataclasses.replace(CONFIG, augment=Augmentation(flip=flip, shift_cells=shift_cells))
    images, labels, places = load(cache, SIZE, np.arange(8), config, np.random.default_rng(1))
    assert images.dtype == torch.uint8
    assert places.shape == (8, 14, 4, 4)
    for image, place, label in zip(images.numpy(), places.numpy(), labels.numpy(), strict=True):
        assert white_in(image[0], place[FRACTURE]) == bool(label[FRACTURE]) or not (image == 255).any()
        assert (image == 255).any() == bool(label[FRACTURE])


def test_most_crops_hold_the_finding_they_are_aimed_at(cache: PyramidCache) -> None:
    generator = np.random.default_rng(2)
    held = []
    for _ in range(100):
        crops, places = load_crops(cache, SIZE, np.arange(0, 8, 2), CONFIG, generator)
        assert crops.shape == (4, 1, 64, 64)
        assert places.shape == (4, 14, 2, 2)
        held.extend(places[:, FRACTURE].amax((1, 2)).tolist())
    assert np.mean(held) > 0.7


def test_an_epoch_visits_every_image_at_most_once() -> None:
    visited = np.concatenate(list(batches(10, 4, np.random.default_rng(0))))
    assert len(visited) == len(set(visited.tolist())) == 8


def test_the_loss_on_cells_is_least_for_evidence_at_the_place_and_silence_elsewhere() -> None:
    places = torch.zeros(2, 14, 4, 4)
    places[0, FRACTURE, 1, 2] = 1
    right, wrong, silent = 12 * places, torch.zeros_like(places), torch.zeros_like(places)
    wrong[0, FRACTURE, 3, 3] = 12
    wandering = 12 * places - 3 * (1 - places)
    losses = [float(cell_loss(evidence, places)) for evidence in (right, wandering, silent, wrong)]
    assert losses == sorted(losses)
    assert losses[0] < losses[1]


def test_the_loss_on_cells_leaves_no_finding_alone() -> None:
    places = torch.zeros(1, 14, 2, 2)
    loud = torch.zeros(1, 14, 2, 2)
    loud[:, INDEX["No Finding"]] = 20
    assert INDEX["No Finding"] not in PLACED
    assert cell_loss(loud, places) == cell_loss(torch.zeros_like(loud), places)


def test_drift_is_what_absent_cells_add_up_to() -> None:
    places = torch.zeros(2, 14, 8, 8)
    places[0, FRACTURE, 0, 0] = 1
    balanced = torch.zeros_like(places)
    balanced[:, FRACTURE, 4:] = 1
    balanced[:, FRACTURE, :4] = -1
    biased = balanced.abs()
    assert drift_loss(12 * places, places) == 0
    assert drift_loss(biased, places) > drift_loss(balanced, places)


def test_calibration_brings_the_logits_to_the_prevalence(cache: PyramidCache) -> None:
    torch.manual_seed(0)
    network = SmallNetwork(SIZE)
    calibrate_head(network, cache, SIZE, 8, np.random.default_rng(0))
    images = torch.from_numpy(cache.levels[SIZE])[:, None]
    logits = network.train()(images).logits
    # bfloat16 keeps eight bits: the mean is met to a tenth.
    assert float(logits[:, FRACTURE].mean().detach()) == pytest.approx(0.0, abs=0.2)
    assert float(logits.std(0).max().detach()) == pytest.approx(1.5, abs=0.3)


def test_the_same_seed_fits_the_same_network(cache: PyramidCache) -> None:
    config: FitConfig = dataclasses.replace(CONFIG, epochs=1, crop_epochs=1, batch=4, crop_batch=4)

    def fitted() -> SmallNetwork:
        torch.manual_seed(0)
        network = SmallNetwork(SIZE)
        numbers = [epoch.number for epoch in fit(network, cache, SIZE, config, seed=3)]
        assert numbers == [0, 1]
        return network.eval()

    first, second = fitted(), fitted()
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
