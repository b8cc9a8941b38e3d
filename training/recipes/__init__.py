"""Recipes: one function for each, returning the complete, frozen configuration of a run.

Nothing about a run is said anywhere else: a variant is a recipe with fields replaced (`dataclasses.replace`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from training.recipes.chizari import chizari, chizari_densenet161
from training.recipes.config import (
    SIZES,
    Architecture,
    DatasetData,
    PhantomData,
    Recipe,
    SplitConfig,
    StackConfig,
    UnitConfig,
)
from training.recipes.demo import demo
from training.recipes.fitting import Augmentation, FitConfig
from training.recipes.haque import haque2021, haque2023_efficientnet_b4
from training.recipes.xclassifier import xclassifier, xclassifier_densenet121, xclassifier_densenet121d

__all__ = [
    "RECIPES",
    "SIZES",
    "Architecture",
    "Augmentation",
    "DatasetData",
    "FitConfig",
    "PhantomData",
    "Recipe",
    "SplitConfig",
    "StackConfig",
    "UnitConfig",
    "demo",
    "haque2021",
    "recipe",
]

RECIPES: Final[dict[str, Callable[[], Recipe]]] = {
    "demo": demo,
    "haque2021": haque2021,
    "haque2023-efficientnet-b4": haque2023_efficientnet_b4,
    "xclassifier": xclassifier,
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
