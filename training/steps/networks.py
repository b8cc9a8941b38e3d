"""The network of one size as a recipe wants it, new or fitted."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from safetensors.torch import load_file

from training.networks.architectures import ARCHITECTURES
from training.networks.base import MapNetwork, SmallNetwork
from training.networks.published import IMAGENET, SCRATCH, weights_file
from training.networks.weights import read_weights
from training.recipes import Recipe
from training.stamp import file_sha256


def new_network(recipe: Recipe, size: int, seed: int, *, start: bool = True) -> MapNetwork:
    """The network of `size`, drawn from `seed`; with `start`, from the weights that the recipe names.

    Raises:
        WeightsMissing: the weights are not on this machine.
        ValueError: they cannot be used.
    """
    torch.manual_seed(seed)
    if recipe.architecture == "small":
        return SmallNetwork(size)
    path = weights_file(recipe.architecture, recipe.weights) if start else None
    weights = read_weights(path) if path else None
    return ARCHITECTURES[recipe.architecture](
        size, head=recipe.head, weights=weights, memory_efficient=recipe.fits[size].memory_efficient
    )


def fitted_network(recipe: Recipe, size: int, weights: Path) -> MapNetwork:
    """The network of `size` with the weights that its fit kept, on the CPU."""
    network = new_network(recipe, size, recipe.seed, start=False)
    network.load_state_dict(load_file(weights))
    return network


def start_of(recipe: Recipe) -> dict[str, str]:
    """The weights that the networks of `recipe` start from: their name, and the file's name and SHA-256.

    Raises:
        WeightsMissing: the file is not on this machine.
    """
    path = weights_file(recipe.architecture, recipe.weights)
    if path is None:
        return {"name": SCRATCH}
    status = path.stat()
    return {
        "name": recipe.weights if recipe.weights == IMAGENET else "file",
        "file": path.name,
        "sha256": _sha256(path, status.st_size, status.st_mtime_ns),
    }


@functools.lru_cache
def _sha256(path: Path, _bytes: int, _changed_ns: int) -> str:
    return file_sha256(path)
