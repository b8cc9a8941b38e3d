"""Haque, Dubey, Hinkle: The Effect of Image Resolution on Automated Classification of Chest X-rays.

2021 (DenseNet121) and J. Med. Imaging 2023 (EfficientNet-B4 beside it).
"""

from __future__ import annotations

import dataclasses

from cxrserve.imaging.pyramid import Preprocessing
from training.recipes.config import SIZES, DatasetData, Recipe, SplitConfig
from training.recipes.fitting import Augmentation, FitConfig


def haque2021() -> Recipe:
    """Four DenseNet121, stacked.

    From the paper: all of MIMIC-CXR-JPG, frontal and lateral (studies without labels and images that cannot
    be decoded are left out); negative, missing and uncertain all negative;
    five folds by patient, of the other 80 % a tenth validates; ImageNet weights; flip, rotation in ±15°;
    Adam, rate scaled with the effective batch; ×0.5 after three epochs without a lower validation loss, stop
    after ten; mixed precision.

    The paper's text is silent about: which labeller (CheXpert's), the filter of the downscaling (the mean of
    an area, each coarser size the 2×2 means of the next), the rate and batches (its Table 1 is not in the
    text; 1e-4 for 32 images, batches that fit 40 GB a GPU: on its 4 and 6 GPUs 1.6e-3 at 256 to 1.1e-4 at
    2048), what rotation brings in at the corners (black), the most epochs
    (100, far beyond where the early stop comes), which weights are kept (those of the lowest validation
    loss), the stack's optimiser and decay (Adam, ×0.98 a step, full batch). "Not lower over three epochs"
    cuts on the third such epoch; torch's ReduceLROnPlateau with patience 3 would cut on the fourth. Mixed
    precision is bf16 where the GPU has it; the paper's was most likely fp16.
    """
    return Recipe(
        name="haque2021",
        source="Haque, Dubey, Hinkle 2021; J. Med. Imaging 2023",
        data=DatasetData(
            source="mimic-cxr-jpg", split=SplitConfig(kind="patient-folds", folds=5, validation_share=0.1)
        ),
        preprocessing=Preprocessing(
            profile="mimic-cxr-jpg", pictures="final", fit="squash", filter="area", sizes=SIZES
        ),
        architecture="densenet121",
        fits={256: _fit(128), 512: _fit(64), 1024: _fit(24), 2048: _fit(6)},
        intended_use="Research into multi-scale classification of chest radiographs.",
        limits=("Not a medical device; research only.",),
    )


def haque2023_efficientnet_b4() -> Recipe:
    """The same with EfficientNet-B4. Batches are ours, smaller, since its backward pass needs more memory."""
    return dataclasses.replace(
        haque2021(),
        name="haque2023-efficientnet-b4",
        source="Haque, Dubey, Hinkle, J. Med. Imaging 2023",
        architecture="efficientnet_b4",
        fits={256: _fit(96), 512: _fit(32), 1024: _fit(8), 2048: _fit(2)},
    )


def _fit(batch: int) -> FitConfig:
    return FitConfig(
        epochs=100,
        batch=batch,
        learning_rate=1e-4,
        reference_batch=32,
        optimiser="adam",
        schedule="plateau",
        factor=0.5,
        patience=3,
        stop_after=10,
        best="loss",
        augment=Augmentation(flip=True, rotation_degrees=15.0),
    )
