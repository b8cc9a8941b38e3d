"""The demo: small networks on phantoms, in minutes on two cores."""

from __future__ import annotations

from cxrserve.imaging.pyramid import Preprocessing
from training.recipes.config import SIZES, CalibrationConfig, PhantomData, Recipe, StackConfig
from training.recipes.fitting import Augmentation, FitConfig


def demo() -> Recipe:
    """Small networks on phantoms, in minutes on two cores."""
    return Recipe(
        name="demo",
        source="ours",
        data=PhantomData(training=1000, validation=250, test=300),
        preprocessing=Preprocessing(profile="mimic-cxr-jpg", fit="squash", filter="area", sizes=SIZES),
        architecture="small",
        weights="scratch",
        stack=StackConfig(kind="calibrated"),
        calibration=CalibrationConfig(phantoms=4000),
        fits={256: _fit(30, 30, 16), 512: _fit(60, 16, 16), 1024: _fit(100, 8, 8), 2048: _fit(140, 4, 4)},
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


def _fit(crop_epochs: int, epochs: int, batch: int) -> FitConfig:
    return FitConfig(
        epochs=epochs,
        batch=batch,
        learning_rate=1.5e-3,
        optimiser="adamw",
        weight_decay=1e-3,
        schedule="one-cycle",
        rise=0.2,
        best="last",
        validate_every=4,
        # Not "auto": the demo comes out the same on every machine, if slowly on one that emulates it.
        precision="bf16",
        clip_norm=5.0,
        augment=Augmentation(flip=True, shift_cells=6),
        location_weight=1.0,
        crop_epochs=crop_epochs,
        crop_batch=32,
        crop_pixels=256,
        crop_learning_rate=4e-3,
    )
