"""Recipes: one function for each, returning the complete, frozen configuration of a run.

Nothing about a run is said anywhere else: a variant is a recipe with fields replaced (`dataclasses.replace`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from cxrserve.imaging.pyramid import Preprocessing

Architecture = Literal[
    "small", "densenet121", "densenet161", "densenet121d", "densenetblur121d", "efficientnet_b4"
]
SIZES: Final = (256, 512, 1024, 2048)


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomData:
    """Phantoms drawn for the run: seeds count up from `first_seed`, training, validation, test in turn."""

    training: int
    validation: int
    test: int
    first_seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetData:
    """Films on disk, split by patient as the publication did; `labels` is what becomes of uncertain ones."""

    source: str
    labels: Literal["zeros", "ones", "ignore"]
    folds: int
    test_share: float
    validation_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """How the network of one size is fitted.

    Attributes:
        learning_rate, image_learning_rate: their peaks, on crops and on whole images.
        schedule: "one-cycle" over all steps, or "plateau": ×0.5 after `patience` epochs without a lower
            validation loss, stop after `stop_after`.
        location_weight: weight of the loss on each cell of the maps, for data that knows where findings are.
        crop_epochs, crop_batch, crop_pixels: epochs before the others, of one square crop an image, most of
            them about a finding, with the loss on cells alone.
        flip, shift_cells, rotation_degrees: augmentation of training images; a cell is 1/64 of the side.
    """

    epochs: int
    batch: int
    learning_rate: float
    image_learning_rate: float
    weight_decay: float
    schedule: Literal["one-cycle", "plateau"]
    optimiser: Literal["adam", "adamw"] = "adamw"
    patience: int = 3
    stop_after: int = 10
    location_weight: float = 0.0
    crop_epochs: int = 0
    crop_batch: int = 16
    crop_pixels: int = 512
    flip: bool = True
    shift_cells: int = 0
    rotation_degrees: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StackConfig:
    """How the stacking weights are fitted: full batch, on validation logits."""

    epochs: int = 100
    learning_rate: float = 0.1
    decay: float = 0.98


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A complete run. `fits` holds one entry for each of `preprocessing.sizes`."""

    name: str
    source: str
    data: PhantomData | DatasetData
    preprocessing: Preprocessing
    architecture: Architecture
    fits: dict[int, FitConfig]
    stack: StackConfig = StackConfig()
    seed: int = 0
    intended_use: str
    limits: tuple[str, ...]


def demo() -> Recipe:
    """Small networks on phantoms, in minutes on two cores."""

    def fit(crop_epochs: int, epochs: int, batch: int) -> FitConfig:
        return FitConfig(
            epochs=epochs,
            batch=batch,
            learning_rate=4e-3,
            image_learning_rate=1.5e-3,
            weight_decay=1e-3,
            schedule="one-cycle",
            location_weight=1.0,
            crop_epochs=crop_epochs,
            crop_batch=32,
            crop_pixels=256,
            shift_cells=6,
        )

    return Recipe(
        name="demo",
        source="ours",
        data=PhantomData(training=1000, validation=250, test=300),
        preprocessing=Preprocessing(profile="mimic-cxr-jpg", fit="squash", filter="area", sizes=SIZES),
        architecture="small",
        fits={256: fit(30, 30, 16), 512: fit(60, 16, 16), 1024: fit(100, 8, 8), 2048: fit(140, 4, 4)},
        intended_use=(
            "To try out, test and show cxrserve. Trained on drawn phantoms alone: its answers about a "
            "radiograph of a person mean nothing."
        ),
        limits=(
            "No clinical meaning whatever: it has never seen a radiograph.",
            "Frontal phantoms only.",
            "Not a medical device; research and demonstration only.",
        ),
    )


def haque2021() -> Recipe:
    """Four DenseNet121, stacked. Haque, Dubey, Hinkle 2021; J. Med. Imaging 2023."""

    def fit(batch: int) -> FitConfig:
        return FitConfig(
            epochs=100,
            batch=batch,
            # The papers scale the rate with the effective batch: 1e-4 for 32 images.
            learning_rate=1e-4 * batch / 32,
            image_learning_rate=1e-4 * batch / 32,
            weight_decay=0.0,
            schedule="plateau",
            optimiser="adam",
            rotation_degrees=15.0,
        )

    return Recipe(
        name="haque2021",
        source="Haque, Dubey, Hinkle 2021; J. Med. Imaging 2023",
        data=DatasetData(
            source="mimic-cxr-jpg", labels="zeros", folds=5, test_share=0.2, validation_share=0.1
        ),
        preprocessing=Preprocessing(profile="mimic-cxr-jpg", fit="squash", filter="area", sizes=SIZES),
        architecture="densenet121",
        fits={256: fit(128), 512: fit(64), 1024: fit(24), 2048: fit(6)},
        intended_use="Research into multi-scale classification of chest radiographs.",
        limits=("Not a medical device; research only.",),
    )


RECIPES: Final[dict[str, Callable[[], Recipe]]] = {"demo": demo, "haque2021": haque2021}


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name[:40]!r}; the recipes are: {', '.join(RECIPES)}")
    return RECIPES[name]()
