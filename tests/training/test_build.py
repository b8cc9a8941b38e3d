"""The pieces of a bundle: cached phantoms, members that answer as torch does, an untrained bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines.select import choose
from cxrserve.ensemble.predictor import Predictor
from cxrserve.findings import INDEX
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import build_pyramid
from tests.training.quiet import Quiet
from training.cache import cache_phantoms, open_cache
from training.networks.architectures import ARCHITECTURES
from training.networks.base import MapNetwork, SmallNetwork
from training.networks.export import TOLERANCE, compare_engines, folded, to_onnx
from training.phantom import make_phantom
from training.recipes import RECIPES, PhantomData, Recipe, demo, haque2021, recipe
from training.steps.untrained import write_untrained

SIZES = (64, 128)


def small(original: Recipe) -> Recipe:
    """`original` at sizes and numbers that take seconds."""
    fits = {
        size: dataclasses.replace(
            fit, epochs=2, crop_epochs=min(2, fit.crop_epochs), crop_pixels=64, batch=8, crop_batch=8
        )
        for size, fit in zip(SIZES, original.fits.values(), strict=False)
    }
    return dataclasses.replace(
        original,
        data=PhantomData(training=32, validation=24, test=24),
        preprocessing=original.preprocessing.model_copy(update={"sizes": SIZES}),
        fits=fits,
    )


def test_a_cache_holds_what_serving_would_see(tmp_path: Path) -> None:
    preprocessing = small(demo()).preprocessing
    assert sorted(cache_phantoms(tmp_path, 0, 4, preprocessing, workers=2)) == [0, 1, 2, 3]
    cache = open_cache(tmp_path, preprocessing)
    phantom = make_phantom(3)
    grey_HW, _ = apply_profile(phantom.radiograph, preprocessing.profile)
    for size, level_SS in build_pyramid(grey_HW, preprocessing).items():
        assert np.array_equal(cache.pyramid(3)[size], level_SS)
    assert np.array_equal(cache.labels_NF[3], phantom.labels_F)
    assert cache.locations_NFGG is not None
    assert np.array_equal(cache.locations_NFGG[3], phantom.places_FGG)
    assert not cache.locations_NFGG[:, INDEX["No Finding"]].any()


def test_a_cache_of_other_phantoms_is_drawn_anew(tmp_path: Path) -> None:
    preprocessing = small(demo()).preprocessing
    assert len(list(cache_phantoms(tmp_path, 0, 2, preprocessing, workers=1))) == 2
    assert not list(cache_phantoms(tmp_path, 0, 2, preprocessing, workers=1))
    assert len(list(cache_phantoms(tmp_path, 7, 2, preprocessing, workers=1))) == 2


@pytest.mark.parametrize(("kind", "size"), [(SmallNetwork, 128), (ARCHITECTURES["densenet121"], 64)])
def test_torch_and_both_engines_agree(kind: Callable[[int], MapNetwork], size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = folded(kind(size))
    path = tmp_path / "member.onnx"
    to_onnx(network, size, path)
    differences = compare_engines(network, size, path.read_bytes())
    assert set(differences) == {
        f"{output} torch–{engine} f32"
        for output in ("logits", "maps")
        for engine in ("onnxruntime", "openvino")
    }
    assert max(differences.values()) <= TOLERANCE


def test_folding_normalisations_changes_no_answer() -> None:
    torch.manual_seed(0)
    network = SmallNetwork(64).eval()
    image = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(folded(network)(image).maps, network(image).maps, rtol=1e-3, atol=1e-4)


def test_an_untrained_bundle_loads_and_tells_images_apart(tmp_path: Path) -> None:
    untrained = dataclasses.replace(small(haque2021()), architecture="densenet121")
    contract = write_untrained(untrained, tmp_path, 0, Quiet())
    # torchvision's with 14 classes, less one colour channel of its stem
    assert [member.parameters for member in contract.members] == [6_968_206 - 64 * 7 * 7] * 2
    predictor = Predictor(load_bundle(tmp_path), choose("onnxruntime", "auto"), threads=2)
    logits = []
    for seed in range(2):
        noise = np.random.default_rng(seed).integers(0, 256, (128, 128), np.uint8)
        prediction = predictor.predict({128: noise, 64: noise[::2, ::2].copy()}, explain="all")
        assert all(np.isfinite(grid).all() for grid in prediction.maps.values())
        assert prediction.logits_FS.std() > 1e-3
        logits.append(prediction.logits_FS)
    assert np.abs(logits[0] - logits[1]).max() > 1e-4


def test_every_recipe_is_complete() -> None:
    for name in RECIPES:
        made = recipe(name)
        assert made.name == name
        assert set(made.fits) == set(made.preprocessing.sizes)
    with pytest.raises(ValueError, match="demo, haque2021"):
        recipe("haque")
