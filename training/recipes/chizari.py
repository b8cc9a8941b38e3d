"""Chizari: Thoughts on Image Resolution, on CheXpert: the detection of atelectasis, judged by study."""

from __future__ import annotations

from cxrserve.imaging.pyramid import Preprocessing
from training.datasets.labels import LabelPolicy
from training.recipes.config import Architecture, DatasetData, Recipe, SampleUnit, SplitConfig
from training.recipes.fitting import Augmentation, FitConfig

CHIZARI_SIZES = (160, 320, 480)


def chizari() -> Recipe:
    """DenseNet121 at 160, 320 and 480 pixels on Atelectasis.

    From the paper: CheXpert; positive and uncertain studies against those that deny
    it and those with No Finding; Lanczos resize;
    rotation 30°, brightness and contrast, black padding, slight perspective warp; average and maximum
    pooling, two linear layers with dropout 0.6, Kaiming's start; one epoch of the head (5e-3), six of
    everything (body 2.5e-5, head 2.5e-3), one-cycle as its Figure 5 shows it, which is fastai's `fine_tune`
    (from a fifth of the peak, rising for 0.99 of the frozen steps and 0.3 of the others), Adam with betas 0.9
    and 0.99, weight decay 0.1; 30
    studies a batch with up to three images each, the maximum over views; five seeds; the epoch of the
    highest validation AUC counts.

    Ours, where the paper is silent: weight decay is decoupled and spares biases and normalisations,
    normalisations of the frozen body learn, and epsilon is 1e-5, as in fastai, which it used; brightness and
    contrast 0.2 (fastai's default), warp 0.1 for "minimal", a change for three images of four. The rates are
    not scaled with the batch. The paper measures on the official validation set and tests on none: here that
    set is the test, and a tenth of the training patients validates. Its uncertain labels are ones; the other
    13 findings are masked. Of a pyramid, 160 is the exact mean of 2×2 pixels of 320; 320 and 480 are each a
    Lanczos resize of the radiograph. The bundle stacks the three sizes, which the paper only compares. The
    paper keeps an epoch whose AUC is higher or whose loss is lower; here the AUC decides alone.
    """
    return _variant("chizari", "densenet121")


def chizari_densenet161() -> Recipe:
    """The same with DenseNet161."""
    return _variant("chizari-densenet161", "densenet161")


def _variant(name: str, architecture: Architecture) -> Recipe:
    return Recipe(
        name=name,
        source="Chizari, Thoughts on Image Resolution",
        data=DatasetData(
            source="chexpert",
            split=SplitConfig(kind="official", validation_share=0.1),
            policy=LabelPolicy(uncertain="ones"),
            finding="Atelectasis",
            sample_unit=SampleUnit(kind="studies", over_views="maximum", max_views=3),
        ),
        preprocessing=Preprocessing(
            profile="chexpert", pictures="final", fit="squash", filter="lanczos", sizes=CHIZARI_SIZES
        ),
        architecture=architecture,
        head="concat",
        fits=dict.fromkeys(CHIZARI_SIZES, _FIT),
        seeds=(0, 1, 2, 3, 4),
        intended_use="Research into image resolution for the detection of atelectasis.",
        limits=("Knows one finding, Atelectasis.", "Not a medical device; research only."),
    )


_FIT = FitConfig(
    epochs=6,
    batch=30,
    learning_rate=2.5e-3,
    layer_rates=(0.01, 1.0),
    frozen_epochs=1,
    frozen_learning_rate=5e-3,
    optimiser="adamw",
    betas=(0.9, 0.99),
    weight_decay=0.1,
    decay_norms=False,
    schedule="one-cycle",
    rise=0.3,
    frozen_rise=0.99,
    start=0.2,
    epsilon=1e-5,
    best="auc",
    augment=Augmentation(rotation_degrees=30.0, warp=0.1, brightness=0.2, contrast=0.2, share=0.75),
)
