"""Recipes: one function for each, returning the complete, frozen configuration of a run.

Nothing about a run is said anywhere else: a variant is a recipe with fields replaced (`dataclasses.replace`).

chizari.py      the recipe after Chizari
config.py       parts of a recipe
demo.py         the demo
fitting.py      configuration of a fit
haque.py        the recipe after Haque, Dubey and Hinkle
overrides.py    `--set key=value`
resolve.py      resolution of a recipe
xclassifier.py  the recipe after Monshi, Poon and Chung
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from training.recipes.chizari import chizari, chizari_densenet161
from training.recipes.config import (
    SIZES,
    Architecture,
    CalibrationConfig,
    DatasetData,
    PhantomData,
    Recipe,
    SampleUnit,
    SplitConfig,
    StackConfig,
)
from training.recipes.demo import demo
from training.recipes.fitting import Augmentation, FitConfig
from training.recipes.haque import haque2021, haque2023_efficientnet_b4
from training.recipes.xclassifier import (
    xclassifier,
    xclassifier_code,
    xclassifier_densenet121,
    xclassifier_densenet121d,
)

__all__ = [
    "RECIPES",
    "SIZES",
    "Architecture",
    "Augmentation",
    "CalibrationConfig",
    "DatasetData",
    "FitConfig",
    "PhantomData",
    "Recipe",
    "SampleUnit",
    "SplitConfig",
    "StackConfig",
    "demo",
    "haque2021",
    "recipe",
]

RECIPES: Final[dict[str, Callable[[], Recipe]]] = {
    "demo": demo,
    "haque2021": haque2021,
    "haque2023-efficientnet-b4": haque2023_efficientnet_b4,
    "xclassifier": xclassifier,
    "xclassifier-code": xclassifier_code,
    "xclassifier-densenet121": xclassifier_densenet121,
    "xclassifier-densenet121d": xclassifier_densenet121d,
    "chizari": chizari,
    "chizari-densenet161": chizari_densenet161,
}


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name[:40]!r}; the recipes are: {', '.join(RECIPES)}")
    return RECIPES[name]()
