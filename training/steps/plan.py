"""Plan of a run, for `--dry-run`: its steps, which are done, and the disk and memory that it needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cxrserve.findings import NAMES
from training.cache.files import COMPLETE, FILLED, FILLING, described, json_like
from training.cache.images import expected_bytes
from training.cache.phantoms import phantoms_description
from training.datasets import DatasetError, Manifest, read_dataset
from training.fit.hardware import Hardware
from training.networks.base import count_parameters
from training.networks.published import WeightsMissing, weights_file
from training.phantom.scene import GRID
from training.recipes import DatasetData, PhantomData, Recipe
from training.steps.deliver import check_out, why_not_delivered
from training.steps.expected_times import expected_times
from training.steps.label_counts import LabelCounts, compared_counts, count_labels, why_refused
from training.steps.networks import new_network
from training.steps.prepare import DRAWN, NAME, cache_folder, data_folder, make_splits, prepare_inputs
from training.steps.run import Run
from training.steps.run_steps import all_steps
from training.steps.settings import changed_settings, learning_rates
from training.steps.step import StepError, label, why_not_done, why_not_in
from training.steps.targets import kept

# Adam keeps two numbers beside each weight and its gradient; a checkpoint, the first three of these four.
_OF_TRAINING, _OF_CHECKPOINT, _BYTES = 4, 3, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One step, and why it would run; None if it is done."""

    step: str
    why: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Memory that the network of one size needs.

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
    """A run before it begins.

    Attributes:
        images: counts by dataset, or by part of drawn phantoms.
        counts: labels that the recipe learns from; None of drawn phantoms.
        times: what takes long, in words, on this machine.
        notes: the start of the networks, settings unlike the published ones, learning rates on this hardware.
        refusals: the reasons for which the run would refuse to start.
        free_bytes: on the disk of the work folder.
    """

    images: dict[str, int]
    steps: tuple[Planned, ...]
    needs: tuple[Need, ...]
    cache_bytes: int
    fits_bytes: int
    free_bytes: int = 0
    counts: LabelCounts | None = None
    times: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()


def make_plan(run: Run) -> Plan:
    """The plan of `run`. Tables are read; no image is, and nothing is written.

    Raises:
        DatasetError: the tables cannot be used.
    """
    listed = _listed(run)
    images, preparing = _preparation(run, listed)
    data, counts = run.recipe.data, None
    if isinstance(data, DatasetData):
        counts = count_labels(listed, data)
    needs = tuple(need(run.recipe, size, counts) for size in run.recipe.preprocessing.sizes)
    compared = compared_counts(run.recipe, listed)
    refusals = list(_refusals(run))
    try:
        training, test = _parts(run, listed)
    except DatasetError as error:
        training, test = 0, 0
        refusals.append(error.detail)
    kept_bytes = sum(network.parameters * _BYTES * (1 + _OF_CHECKPOINT) for network in needs)
    return Plan(
        images=images,
        steps=(preparing, *_later_steps(run)),
        needs=needs,
        cache_bytes=_cache_bytes(run.recipe, sum(images.values())),
        fits_bytes=len(run.trials) * kept_bytes,
        free_bytes=_free_bytes(run.cache_folder),
        counts=counts,
        times=expected_times(run, training, test) if training else (),
        notes=(
            *(f"counted: {line}" for line in compared),
            *(f"not as published: {setting}" for setting in changed_settings(run.recipe)),
            *learning_rates(run.recipe),
        ),
        refusals=(*refusals, *filter(None, [why_refused(run, compared)])),
    )


def _cache_bytes(recipe: Recipe, images: int) -> int:
    """Size of the pyramids; of radiographs an estimate, as they are compressed."""
    sizes = recipe.preprocessing.sizes
    if isinstance(recipe.data, PhantomData):
        return images * (sum(size**2 for size in sizes) + len(NAMES) * GRID**2)
    return expected_bytes(images, sizes)


def _refusals(run: Run) -> Iterator[str]:
    try:
        check_out(run)
    except StepError as error:
        yield str(error)
    try:
        weights_file(run.recipe.architecture, run.recipe.weights)
    except WeightsMissing as error:
        yield str(error)


def _free_bytes(folder: Path) -> int:
    """Free bytes on the disk that `folder` is or will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _parts(run: Run, listed: list[Manifest]) -> tuple[int, int]:
    """Images that train and that test in the first fold.

    Raises:
        DatasetError: the data cannot be split as the recipe says.
    """
    data = run.recipe.data
    if isinstance(data, PhantomData):
        return data.training, data.test
    first = [folds[0] for folds in make_splits(listed, data.split)]
    return sum(len(split.train) for split in first), sum(len(split.test) for split in first)


def _listed(run: Run) -> list[Manifest]:
    """The images of each dataset that the recipe uses; none of drawn phantoms."""
    data = run.recipe.data
    if not isinstance(data, DatasetData):
        return []
    return [kept(read_dataset(spec, run.options), data) for spec in run.data]


def _preparation(run: Run, listed: list[Manifest]) -> tuple[dict[str, int], Planned]:
    recipe, folder = run.recipe, data_folder(run)
    undone: list[str] = []
    if isinstance(recipe.data, PhantomData):
        images, seed = {}, recipe.data.first_seed
        for part in DRAWN.values():
            images[part] = int(getattr(recipe.data, part))
            description = json_like(phantoms_description(seed, images[part], recipe.preprocessing))
            if described(folder / part / COMPLETE) != description:
                undone.append(part)
            seed += images[part]
        return images, Planned(step="prepare", why=f"to draw: {', '.join(undone)}" if undone else None)
    images = {}
    for spec, manifest in zip(run.data, listed, strict=True):
        images[spec] = len(manifest)
        cache = run.cache_folder / cache_folder(manifest, recipe.preprocessing)
        if (cache / FILLING).exists():
            there = int((np.load(cache / "state.npy") == FILLED).sum())
            undone.append(f"{spec} is cached to {there} of {len(manifest)} images")
        elif not (cache / COMPLETE).exists():
            undone.append(f"{spec} is not cached")
    why = why_not_in(run.work, NAME, prepare_inputs(run))
    return images, Planned(step="prepare", why="; ".join(undone) or why)


def _later_steps(run: Run) -> list[Planned]:
    planned = [
        Planned(step=label(step, trial), why=_why(lambda: why_not_done(step, run, trial)))  # noqa: B023
        for step, trial in all_steps(run)
    ]
    undone = any(step.why for step in planned)
    delivery = "after the steps before it" if undone else _why(lambda: why_not_delivered(run))
    return [*planned, Planned(step=f"deliver to {run.out}", why=delivery)]


def _why(check: Callable[[], str | None]) -> str | None:
    """The result of `check`, or the message that an earlier step is not done."""
    try:
        return check()
    except StepError:
        return "after the steps before it"
    except WeightsMissing:
        return "the weights that it starts from are not here"


def need(recipe: Recipe, size: int, counts: LabelCounts | None = None) -> Need:
    """The memory that fitting the network of `size` needs, from its shapes alone: nothing is computed.

    Args:
        counts: of the data, for the images in a study; the most that the recipe takes if None.
    """
    with torch.device("meta"):
        network = new_network(recipe, size, recipe.seed, start=False).train()
        kept_bytes = _activation_bytes(network, torch.zeros(2, 1, size, size, dtype=torch.uint8)) // 2
    fit = recipe.fits[size]
    images = fit.batch * _views(recipe, counts)
    if Hardware.here().precision(fit.precision) != "32-true":
        kept_bytes //= 2
    parameters = count_parameters(network)
    return Need(
        size=size,
        parameters=parameters,
        batch=fit.batch,
        activation_bytes=kept_bytes,
        training_bytes=parameters * _BYTES * _OF_TRAINING + round(images * kept_bytes),
    )


def _views(recipe: Recipe, counts: LabelCounts | None) -> float:
    """Images in a sample: the mean of the studies, of which a batch has many."""
    unit = recipe.data.sample_unit
    if unit.kind == "images":
        return 1.0
    return unit.max_views if counts is None else counts.images / max(1, counts.studies)


def _activation_bytes(network: nn.Module, images: Tensor) -> int:
    """Bytes kept for the backward pass of `network` for `images`, in single precision.

    The outputs of all layers, or what autograd says that it saves, if that is more: networks also save values
    between layers, and libraries keep outputs that autograd does not name.
    """
    total, saved = 0, {}
    own = {part.untyped_storage()._cdata for part in (*network.parameters(), *network.buffers())}

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage  # held, so that no other gets its address
        return tensor

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * _BYTES

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        network(images)
    for hook in hooks:
        hook.remove()
    return max(total, sum(storage.nbytes() for storage in saved.values()))
