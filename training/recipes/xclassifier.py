"""Monshi, Poon, Chung: Xclassifier, DenseNet variants at 224 pixels under data parallelism."""

from __future__ import annotations

import dataclasses

from cxrserve.imaging.pyramid import Preprocessing
from training.recipes.config import Architecture, DatasetData, Recipe, SplitConfig
from training.recipes.fitting import Augmentation, FitConfig

GPUS = 4


def xclassifier() -> Recipe:
    """DenseNetblur-121d at 224 pixels, as the paper's text has it.

    From the paper: MIMIC-CXR (or CheXpert: `--data chexpert:…`), U-Zeros, images with a positive label
    only, 80/10/10 with seed 42; squished to 224; rotation 20°, zoom 1.2, warp 0.2, lighting 0.3; one-cycle
    with discriminative rates; "fine-tune" of published weights: timm's `densenetblur121d.ra_in1k`; 30 epochs;
    batch 64 on each of four GPUs.

    Its code splits by row, so that a patient's images are on both sides; we split by patient, and
    `data.split.kind=by-row` gives its numbers for comparison. On CheXpert add
    `preprocessing.profile=chexpert`, which is how DICOM is then served. `xclassifier-code` follows its code
    further.

    The paper is silent about the rest, where we follow fastai's defaults, which it used: Adam with decoupled
    weight decay 0.01 (none on biases and normalisations), betas 0.9 and 0.99, epsilon 1e-5, each augmentation
    drawn for itself for three images of four, reflection at the borders, one-cycle rising for a quarter of
    the steps. Ours: 1e-3 for the head at 256 images a step, a hundredth and a tenth of it for the body's
    halves; no flip, since none is named; a linear head; the last epoch's weights, where one-cycle ends.
    """
    return _variant("xclassifier", "densenetblur121d")


def xclassifier_code() -> Recipe:
    """The same as the authors' code has it, where it says more than the text.

    Average and maximum pooling with two linear layers and dropout; one epoch with a frozen body, then 30
    (fastai's `fine_tune`): from a fifth of the peak, rising for 0.99 of the frozen steps and 0.3 of the
    others. The head's rate is fastai's default of 2e-3 while the body is frozen and half of it after that;
    which rate the authors gave is not known. On CheXpert their code validates on 20 % of what the test leaves
    (`data.split.validation_share=0.18`).
    """
    recipe = _variant("xclassifier-code", "densenetblur121d")
    fit = dataclasses.replace(
        _FIT, frozen_epochs=1, frozen_learning_rate=2e-3, rise=0.3, frozen_rise=0.99, start=0.2
    )
    return dataclasses.replace(recipe, head="concat", fits={224: fit})


def xclassifier_densenet121() -> Recipe:
    """The same with a plain DenseNet121 (Table 3)."""
    return _variant("xclassifier-densenet121", "densenet121")


def xclassifier_densenet121d() -> Recipe:
    """The same with three 3×3 convolutions in the stem and no blur (Table 3).

    It starts from scratch: nobody publishes weights of this network, so its row of Table 3 cannot be compared
    with the two others, which start from ImageNet.
    """
    return dataclasses.replace(_variant("xclassifier-densenet121d", "densenet121d"), weights="scratch")


def _variant(name: str, architecture: Architecture) -> Recipe:
    return Recipe(
        name=name,
        source="Monshi, Poon, Chung 2022 (Xclassifier)",
        data=DatasetData(
            source="mimic-cxr-jpg",
            split=SplitConfig(kind="random", validation_share=0.1, test_share=0.1, seed=42),
            with_a_positive=True,
        ),
        preprocessing=Preprocessing(
            profile="mimic-cxr-jpg", pictures="final", fit="squash", filter="area", sizes=(224,)
        ),
        architecture=architecture,
        fits={224: _FIT},
        seeds=(42,),
        intended_use="Research into DenseNet variants for classification of chest radiographs.",
        limits=("Not a medical device; research only.",),
    )


_FIT = FitConfig(
    epochs=30,
    batch=64,
    learning_rate=1e-3,
    reference_batch=64 * GPUS,
    layer_rates=(0.01, 0.1, 1.0),
    optimiser="adamw",
    betas=(0.9, 0.99),
    weight_decay=0.01,
    decay_norms=False,
    schedule="one-cycle",
    epsilon=1e-5,
    best="last",
    augment=Augmentation(
        rotation_degrees=20.0,
        zoom=1.2,
        warp=0.2,
        brightness=0.3,
        contrast=0.3,
        share=0.75,
        border="reflection",
    ),
)
