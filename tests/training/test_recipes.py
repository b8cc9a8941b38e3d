"""Every recipe: complete, as published, and fitted from end to end at a reduced size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cxrserve.findings import INDEX
from tests.training.fit_samples import ArraySamples, squares
from training.fit import fit_member
from training.networks.published import PUBLISHED
from training.recipes import RECIPES, FitConfig, Recipe, demo, haque2021, recipe
from training.recipes.config import DatasetData
from training.steps.networks import new_network

SIZE = 64


def reduced(fit: FitConfig) -> FitConfig:
    """`fit` over eight samples: two steps of each phase; the last weights, to see what learnt."""
    return dataclasses.replace(
        fit,
        epochs=1,
        batch=4,
        crop_epochs=min(1, fit.crop_epochs),
        crop_batch=4,
        crop_pixels=SIZE,
        validate_every=1,
        best="last",
    )


def samples_for(original: Recipe) -> ArraySamples:
    """Squares as the recipe wants them: pairs of images a study, or labels of one finding alone."""
    studies = original.data.sample_unit.kind == "studies"
    samples = squares(16 if studies else 8, SIZE, 2 if studies else 1, places=original.name == "demo")
    finding = original.data.finding if isinstance(original.data, DatasetData) else None
    if finding is not None:
        labels_NF = np.full_like(samples.labels_NF, np.nan)
        labels_NF[:, INDEX[finding]] = samples.labels_NF[:, INDEX["Fracture"]]
        samples.labels_NF = labels_NF
    return samples


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_fitted_from_end_to_end(name: str, tmp_path: Path) -> None:
    original = recipe(name)
    small = dataclasses.replace(
        original,
        weights="scratch",
        preprocessing=original.preprocessing.model_copy(update={"sizes": (SIZE,)}),
        fits={SIZE: reduced(next(iter(original.fits.values())))},
    )
    network = new_network(small, SIZE, small.seed)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    samples = samples_for(small)
    result = fit_member(
        network,
        samples,
        samples,
        SIZE,
        small.fits[SIZE],
        folder=tmp_path,
        seed=small.seed,
        unit=small.data.sample_unit,
    )
    head_first = name.startswith("chizari") or name == "xclassifier-code"
    phases = ["crops", "images"] if name == "demo" else ["head", "images"] if head_first else ["images"]
    assert [epoch.phase for epoch in result.epochs] == phases
    assert result.epochs[-1].validation_auc is not None
    # Every matrix and kernel has learnt.
    after = network.state_dict()
    still = [key for key in before if after[key].ndim > 1 and after[key].equal(before[key])]
    assert not still


def test_every_recipe_is_complete() -> None:
    for name in RECIPES:
        made = recipe(name)
        assert made.name == name
        assert set(made.fits) == set(made.preprocessing.sizes)
        assert made.source
        assert made.limits
    with pytest.raises(ValueError, match="demo, haque2021"):
        recipe("haque")


def test_haque2021_is_as_published() -> None:
    made = haque2021()
    assert isinstance(made.data, DatasetData)
    assert (made.data.split.kind, made.data.split.folds) == ("patient-folds", 5)
    assert made.data.policy.by_finding() == ("zeros",) * 14
    assert made.data.views == "all"
    for fit in made.fits.values():
        assert (fit.schedule, fit.factor, fit.patience, fit.stop_after) == ("plateau", 0.5, 3, 10)
        assert (fit.augment.flip, fit.augment.rotation_degrees) == (True, 15)
        assert fit.optimiser == "adam"


def test_xclassifier_is_as_published_but_for_its_leak() -> None:
    made = recipe("xclassifier")
    assert isinstance(made.data, DatasetData)
    assert (made.data.split.kind, made.data.split.seed, made.data.with_a_positive) == ("random", 42, True)
    (fit,) = made.fits.values()
    augment = fit.augment
    assert (augment.rotation_degrees, augment.zoom, augment.warp) == (20, 1.2, 0.2)
    assert (augment.brightness, augment.contrast) == (0.3, 0.3)
    assert (fit.epochs, fit.batch, fit.schedule, len(fit.layer_rates)) == (30, 64, "one-cycle", 3)
    assert (fit.betas, fit.weight_decay, fit.decay_norms, fit.epsilon) == ((0.9, 0.99), 0.01, False, 1e-5)
    assert (fit.best, fit.frozen_epochs) == ("last", 0)
    by_code = recipe("xclassifier-code")
    (code,) = by_code.fits.values()
    assert (by_code.head, code.frozen_epochs, code.frozen_rise, code.rise) == ("concat", 1, 0.99, 0.3)
    by_row = dataclasses.replace(made.data, split=dataclasses.replace(made.data.split, kind="by-row"))
    assert dataclasses.replace(made, data=by_row).fits == made.fits


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_starts_from_imagenet_names_weights_that_somebody_publishes(name: str) -> None:
    made = recipe(name)
    assert made.weights in ("imagenet", "scratch")
    if made.weights == "imagenet":
        assert made.architecture in PUBLISHED
    # Rates far below 1e-3 are for bodies that have learnt before.
    elif made.architecture != "small":
        assert name == "xclassifier-densenet121d"


@pytest.mark.parametrize("name", ["chizari", "chizari-densenet161"])
def test_chizari_is_as_published(name: str) -> None:
    made = recipe(name)
    assert isinstance(made.data, DatasetData)
    assert (made.data.finding, made.data.policy.uncertain) == ("Atelectasis", "ones")
    assert (
        made.data.sample_unit.kind,
        made.data.sample_unit.over_views,
        made.data.sample_unit.max_views,
    ) == (
        "studies",
        "maximum",
        3,
    )
    assert (made.preprocessing.filter, made.preprocessing.sizes) == ("lanczos", (160, 320, 480))
    assert (made.head, len(made.seeds)) == ("concat", 5)
    for fit in made.fits.values():
        assert (fit.frozen_epochs, fit.frozen_learning_rate, fit.epochs) == (1, 5e-3, 6)
        body, head = (fit.learning_rate * share for share in fit.layer_rates)
        assert (body, head) == pytest.approx((2.5e-5, 2.5e-3))
        assert (fit.betas, fit.weight_decay, fit.batch, fit.best) == ((0.9, 0.99), 0.1, 30, "auc")
        # Figure 5 is fastai's fine_tune.
        assert (fit.rise, fit.frozen_rise, fit.start) == (0.3, 0.99, 0.2)


def test_a_concat_head_has_no_loss_on_cells() -> None:
    placed = dataclasses.replace(
        recipe("chizari").fits[160], location_weight=1.0, augment=demo().fits[256].augment
    )
    with pytest.raises(ValueError, match="loss on cells at \\[320\\], which the concat head does not have"):
        dataclasses.replace(recipe("chizari"), fits={**recipe("chizari").fits, 320: placed})


def test_films_do_not_know_where_findings_lie() -> None:
    placed = dataclasses.replace(demo().fits[256], crop_epochs=3)
    with pytest.raises(ValueError, match="only phantoms know"):
        dataclasses.replace(haque2021(), fits=dict.fromkeys(haque2021().fits, placed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0; expected at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"layer_rates": ()}, "the head's last"),
        ({"frozen_epochs": 1}, "give a rate"),
        ({"validate_every": 2}, "validation after every epoch"),
        ({"location_weight": 1.0}, "goes with flip and shift_cells"),
    ],
)
def test_a_fit_that_contradicts_itself_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(haque2021().fits[256], **changes)  # type: ignore[arg-type]


def test_a_recipe_that_contradicts_itself_is_refused() -> None:
    made = haque2021()
    with pytest.raises(ValueError, match="name the same in both"):
        dataclasses.replace(made, fits={256: made.fits[256]})
    odd = made.preprocessing.model_copy(update={"sizes": (100,)})
    with pytest.raises(ValueError, match="multiple of 32 pixels, not 100"):
        dataclasses.replace(made, preprocessing=odd, fits={100: made.fits[256]})
    with pytest.raises(ValueError, match="at least one"):
        dataclasses.replace(made, seeds=())
