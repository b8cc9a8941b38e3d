"""The bundle that ships: small, honest about itself, its heatmaps where the phantom's findings are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cxrserve.engines.select import choose
from cxrserve.ensemble.bundle import load_bundle
from cxrserve.ensemble.predictor import Predictor
from cxrserve.findings import INDEX
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import build_pyramid
from training.evaluate import means
from training.phantom import make_phantom

DEMO = Path(__file__).parents[2] / "models" / "demo"
# Coarse, fine, and in between; seeds that no part of the recipe uses.
LOOKED_FOR = ("Cardiomegaly", "Pneumothorax", "Consolidation", "Fracture")
SEEDS = range(90_000, 90_012)


def test_it_is_small_and_says_what_it_is() -> None:
    assert sum(file.stat().st_size for file in DEMO.iterdir()) < 20 * 2**20
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    assert "No clinical meaning" in card
    assert "phantoms" in card


def test_its_own_figures_say_that_the_stack_is_best_on_average() -> None:
    metrics = load_bundle(DEMO).contract.metrics
    assert metrics is not None
    mean = means(metrics.auc)
    assert mean["stack"] == max(mean.values())


def test_heatmaps_of_new_phantoms_point_at_their_findings() -> None:
    bundle = load_bundle(DEMO)
    predictor = Predictor(bundle, choose("auto", "auto"), threads=2)
    hits = []
    for seed in SEEDS:
        phantom = make_phantom(seed)
        present = [INDEX[name] for name in LOOKED_FOR if phantom.labels_F[INDEX[name]]]
        if not present:
            continue
        grey_HW, _ = apply_profile(phantom.radiograph, bundle.contract.preprocessing.profile)
        levels = build_pyramid(grey_HW, bundle.contract.preprocessing)
        for finding, map_GG in predictor.predict(levels, explain=present).maps.items():
            row, column = np.unravel_index(int(map_GG.argmax()), map_GG.shape)
            near = phantom.places_FGG[finding, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            hits.append(bool(near.any()))
    assert len(hits) >= 5
    assert np.mean(hits) >= 0.8
