"""The bundle that ships: small, honest about itself, its heatmaps where the phantom's findings are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines.select import choose
from cxrserve.ensemble.predictor import Predictor
from cxrserve.ensemble.stack import stacked, voted
from cxrserve.findings import INDEX, NAMES
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import build_pyramid
from cxrserve.reports.ranking import auc
from training.phantom import make_phantom
from training.recipes.config import SIZES
from training.report.measures import means

DEMO = Path(__file__).parents[2] / "models" / "demo"
# Coarse, fine, and in between; seeds that no part of the recipe uses.
LOOKED_FOR = ("Cardiomegaly", "Pneumothorax", "Consolidation", "Fracture")
SEEDS = range(90_000, 90_060)


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


def test_no_group_is_refused_far_more_often_than_the_others() -> None:
    report = json.loads((DEMO / "report.json").read_text(encoding="utf-8"))
    groups = report["film_check"]["groups"]
    assert {"all", "finding"} <= {group["by"] for group in groups}
    assert not [group["group"] for group in groups if group["uneven"]]
    assert report["sha256"] == load_bundle(DEMO).sha256, "the report is of this very bundle"


@dataclass(frozen=True)
class Looked:
    """New phantoms through the path that serves: logits [N, 14, 4], labels [N, 14], and where maps point."""

    logits_NFS: NDArray[np.float64]
    labels_NF: NDArray[np.float32]
    hits: list[bool]


@pytest.fixture(scope="module")
def looked() -> Looked:
    bundle = load_bundle(DEMO)
    predictor = Predictor(bundle, choose("auto", "auto"), threads=2)
    logits, labels, hits = [], [], []
    for seed in SEEDS:
        phantom = make_phantom(seed)
        present = [INDEX[name] for name in LOOKED_FOR if phantom.labels_F[INDEX[name]]]
        grey_HW, _ = apply_profile(phantom.radiograph, bundle.contract.preprocessing.profile)
        levels = build_pyramid(grey_HW, bundle.contract.preprocessing)
        prediction = predictor.predict(levels, explain=present)
        logits.append(prediction.logits_FS)
        labels.append(phantom.labels_F)
        for finding, map_GG in prediction.maps.items():
            row, column = np.unravel_index(int(map_GG.argmax()), map_GG.shape)
            near = phantom.places_FGG[finding, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            hits.append(bool(near.any()))
    return Looked(np.stack(logits), np.stack(labels), hits)


def test_heatmaps_of_new_phantoms_point_at_their_findings(looked: Looked) -> None:
    assert len(looked.hits) >= 20
    assert np.mean(looked.hits) >= 0.8


def test_on_new_phantoms_the_stack_is_at_least_as_good_as_voting_and_every_scale(looked: Looked) -> None:
    contract = load_bundle(DEMO).contract
    columns = {str(size): looked.logits_NFS[..., index] for index, size in enumerate(SIZES)}
    columns["voting"] = voted(looked.logits_NFS)
    columns["stack"] = stacked(looked.logits_NFS, np.array(contract.stack))
    table = {
        name: {
            column: auc(scores_NF[:, index], looked.labels_NF[:, index])
            for column, scores_NF in columns.items()
        }
        for index, name in enumerate(NAMES)
    }
    mean = means(table)
    assert mean["stack"] == max(mean.values()), mean
    # Fine findings are the finest scales' own, coarse ones need none of them.
    weights = dict(zip(NAMES, contract.stack, strict=True))
    assert all(sum(weights[name][2:]) > 0.5 for name in ("Fracture", "Lung Lesion", "Pneumothorax"))
    assert all(sum(weights[name][:2]) > 0.5 for name in ("Cardiomegaly", "Edema"))
