"""Checks of a dataset's labels against what a recipe needs of them."""

from __future__ import annotations

import numpy as np

from training.datasets import DatasetError, Manifest
from training.datasets.split import Split
from training.recipes import DatasetData, Recipe
from training.steps.targets import targets


def check_labels(
    data: DatasetData, run_recipe: Recipe, manifests: list[Manifest], splits: list[tuple[Split, ...]]
) -> None:
    """Refuse data whose validation parts have no finding of both classes, if the best epoch needs an AUC.

    Raises:
        DatasetError: for the first such fold.
    """
    if all(fit.best != "auc" for fit in run_recipe.fits.values()):
        return
    labels = [targets(manifest, data) for manifest in manifests]
    for number, fold in enumerate(zip(*splits, strict=True), 1):
        validation_NF = np.concatenate(
            [
                labels_NF[split.positions(manifest)["validate"]]
                for split, manifest, labels_NF in zip(fold, manifests, labels, strict=True)
            ]
        )
        if not ((validation_NF == 1).any(0) & (validation_NF == 0).any(0)).any():
            raise DatasetError(
                f"fits.*.best is auc, and no finding has positives and negatives among the "
                f"{len(validation_NF)} validation images of fold {number}: set fits.*.best to loss, or "
                "data.split.validation_share higher"
            )
