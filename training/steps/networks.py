"""The network of one size as a recipe wants it, new or fitted."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from training.architectures import ARCHITECTURES
from training.networks import MapNetwork, SmallNetwork
from training.recipes import Recipe
from training.weights import imagenet_weights

IMAGENET, SCRATCH = "imagenet", "scratch"


def new_network(recipe: Recipe, size: int, seed: int, *, start: bool = True) -> MapNetwork:
    """The network of `size`, drawn from `seed`; with `start`, from the weights that the recipe names.

    Raises:
        ValueError, FileNotFoundError: the recipe names a file of weights that cannot be used.
    """
    torch.manual_seed(seed)
    if recipe.architecture == "small":
        return SmallNetwork(size)
    weights = None
    if start and recipe.weights != SCRATCH:
        path = None if recipe.weights == IMAGENET else Path(recipe.weights).expanduser()
        weights = imagenet_weights(recipe.architecture, path)
    return ARCHITECTURES[recipe.architecture](
        size, head=recipe.head, weights=weights, memory_efficient=recipe.fits[size].memory_efficient
    )


def fitted_network(recipe: Recipe, size: int, weights: Path) -> MapNetwork:
    """The network of `size` with the weights that its fit kept, on the CPU."""
    network = new_network(recipe, size, recipe.seed, start=False)
    network.load_state_dict(load_file(weights))
    return network
