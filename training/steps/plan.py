"""`--dry-run`: what a run would do, what of it is done, and what it needs of disk and memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cxrserve.findings import NAMES
from training.cache.files import COMPLETE, DONE, FILLING, described, json_like
from training.cache.phantoms import phantoms_description
from training.datasets import read_dataset
from training.fit.hardware import Hardware
from training.networks import count_parameters
from training.phantom.scene import GRID
from training.recipes import PhantomData, Recipe
from training.steps.calibrate import why_not_calibrated
from training.steps.evaluate import why_not_delivered, why_not_evaluated
from training.steps.export import why_not_exported
from training.steps.fit import all_jobs, why_not_fitted
from training.steps.networks import new_network
from training.steps.prepare import DRAWN, StepError, cache_folder, prepared
from training.steps.run import Run, Trial
from training.steps.stack import why_not_stacked
from training.steps.targets import kept

# Adam keeps two numbers beside each weight and its gradient; a checkpoint, the first three of these four.
_OF_TRAINING, _OF_CHECKPOINT, _BYTES = 4, 3, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One step: why it would run, None if it is done."""

    step: str
    why: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What the network of one size needs.

    Attributes:
        activation_bytes: of one image, kept for the backward pass: what convolutions, normalisations and
            activations put out. An estimate: libraries need room of their own.
        training_bytes: weights, gradients, the optimiser's state, and the activations of one batch.
    """

    size: int
    parameters: int
    batch: int
    activation_bytes: int
    training_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A run before it begins. `images` counts by dataset, or by part of drawn phantoms."""

    images: dict[str, int]
    steps: tuple[Planned, ...]
    needs: tuple[Need, ...]
    cache_bytes: int
    fits_bytes: int


def make_plan(run: Run) -> Plan:
    """What `run` would do. Tables are read; no film is, and nothing is written.

    Raises:
        DatasetError: the tables cannot be used.
    """
    images, preparing = _preparation(run)
    needs = tuple(need(run.recipe, size) for size in run.recipe.preprocessing.sizes)
    pixels = sum(size**2 for size in run.recipe.preprocessing.sizes)
    places = len(NAMES) * GRID**2 if isinstance(run.recipe.data, PhantomData) else 0
    kept_bytes = sum(each.parameters * _BYTES * (1 + _OF_CHECKPOINT) for each in needs)
    return Plan(
        images=images,
        steps=(preparing, *_later_steps(run)),
        needs=needs,
        cache_bytes=sum(images.values()) * (pixels + places),
        fits_bytes=len(run.trials) * kept_bytes,
    )


def _preparation(run: Run) -> tuple[dict[str, int], Planned]:
    recipe = run.recipe
    try:
        prepared(run)
        why = None
    except StepError:
        why = "not done yet, or the recipe's data or --data changed"
    undone: list[str] = []
    if isinstance(recipe.data, PhantomData):
        images, seed = {}, recipe.data.first_seed
        for part in DRAWN.values():
            images[part] = int(getattr(recipe.data, part))
            wanted = json_like(phantoms_description(seed, images[part], recipe.preprocessing))
            if described(run.work / part / COMPLETE) != wanted:
                undone.append(part)
            seed += images[part]
        return images, Planned(step="prepare", why=f"to draw: {', '.join(undone)}" if undone else None)
    images = {}
    for spec in run.data:
        manifest = kept(read_dataset(spec, run.options), recipe.data)
        images[spec] = len(manifest)
        folder = run.work / cache_folder(manifest, recipe.preprocessing)
        if (folder / FILLING).exists():
            there = int((np.load(folder / "state.npy") == DONE).sum())
            undone.append(f"{spec} is cached to {there} of {len(manifest)} images")
        elif not (folder / COMPLETE).exists():
            undone.append(f"{spec} is not cached")
    return images, Planned(step="prepare", why="; ".join(undone) or why)


def _later_steps(run: Run) -> list[Planned]:
    fits = [
        Planned(step=job.name, why=_why(functools.partial(why_not_fitted, run, job))) for job in all_jobs(run)
    ]
    later: list[tuple[str, Callable[[Run, Trial], str | None]]] = [
        ("stack", why_not_stacked),
        ("calibrate", why_not_calibrated),
        ("export", why_not_exported),
        ("evaluate", why_not_evaluated),
    ]
    trials = [
        Planned(step=f"{name}, {trial.name}", why=_why(functools.partial(check, run, trial)))
        for name, check in later
        for trial in run.trials
    ]
    undone = any(each.why for each in (*fits, *trials))
    delivery = "after the steps before it" if undone else _why(lambda: why_not_delivered(run))
    return [*fits, *trials, Planned(step=f"deliver to {run.out}", why=delivery)]


def _why(check: Callable[[], str | None]) -> str | None:
    """What `check` says, or that a step before is not done."""
    try:
        return check()
    except StepError:
        return "after the steps before it"


def need(recipe: Recipe, size: int) -> Need:
    """What fitting the network of `size` needs, from its shapes alone: nothing is computed."""
    with torch.device("meta"):
        network = new_network(recipe, size, recipe.seed, start=False).train()
        kept_bytes = _activation_bytes(network, torch.zeros(2, 1, size, size, dtype=torch.uint8)) // 2
    fit = recipe.fits[size]
    images = fit.batch * (recipe.data.unit.most_views if recipe.data.unit.kind == "studies" else 1)
    if Hardware.here().precision(fit.precision) != "32-true":
        kept_bytes //= 2
    parameters = count_parameters(network)
    return Need(
        size=size,
        parameters=parameters,
        batch=fit.batch,
        activation_bytes=kept_bytes,
        training_bytes=parameters * _BYTES * _OF_TRAINING + images * kept_bytes,
    )


def _activation_bytes(network: nn.Module, images: Tensor) -> int:
    """What the layers of `network` put out for `images`, in single precision."""
    total = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * _BYTES

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    network(images)
    for hook in hooks:
        hook.remove()
    return total
