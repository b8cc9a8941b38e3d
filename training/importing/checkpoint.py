"""Published DenseNet checkpoints in torchvision's layout, under whatever names their authors kept them.

Nothing that a file says is run: see `training.networks.weights`.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from training.networks.weights import read_weights

STEM: Final = "features.conv0.weight"
# Where authors keep the last layer: plain, behind a dropout, before a sigmoid, under timm's or fastai's name.
CLASSIFIERS: Final = ("classifier", "classifier.0", "classifier.1", "fc", "head")
# Keys under which checkpoints keep the names of their outputs.
NAMED: Final = ("findings", "pathologies", "labels", "classes", "class_names", "targets")
# Layers in the four dense blocks.
DEPTHS: Final[dict[tuple[int, ...], str]] = {
    (6, 12, 24, 16): "densenet121",
    (6, 12, 36, 24): "densenet161",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
}
_LAYER: Final = re.compile(r"features\.denseblock(\d)\.denselayer(\d+)\.conv1\.weight$")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Checkpoint:
    """A body and a last layer as their authors trained them.

    Attributes:
        description: the architecture, for the bundle.
        body: from normalised images [N, C, S, S] to the last activations, after ReLU.
        classifier: K to the checkpoint's own outputs.
        channels: C, of the first convolution: 1 or 3.
        outputs: the names of the outputs, in order; None where the file holds none.
        source: what the file is, in words.
    """

    description: str
    body: nn.Module
    classifier: nn.Linear
    channels: int
    outputs: tuple[str, ...] | None
    source: str


def read_checkpoint(path: Path) -> Checkpoint:
    """The DenseNet in `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it would run code, is damaged, or is no DenseNet in torchvision's layout; says which names
            are too many or missing.
    """
    tensors = _without_prefix(read_weights(path).tensors, path)
    name = _architecture(tensors, path)
    last = next((name for name in CLASSIFIERS if f"{name}.weight" in tensors), None)
    if last is None:
        raise ValueError(f"{path} has no last layer under any of the names {', '.join(CLASSIFIERS)}")
    weight, bias = tensors.pop(f"{last}.weight"), tensors.pop(f"{last}.bias", None)
    if weight.ndim != 2:
        raise ValueError(f"{path}: {last}.weight has the shape {list(weight.shape)}, no linear layer's")
    network = _empty(name, tensors[STEM].shape[1])
    # A count of batches seen, which older files lack and evaluation does not use.
    tensors = {
        **{key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")},
        **tensors,
    }
    required = {key for key in network.state_dict() if not key.startswith("classifier.")}
    for problem, names in (
        ("more than", tensors.keys() - required),
        ("less than", required - tensors.keys()),
    ):
        if names:
            shown = ", ".join(sorted(names)[:5])
            raise ValueError(f"{path} holds {problem} a {name} and one last layer: {shown}")
    try:
        network.features.load_state_dict({key.removeprefix("features."): tensors[key] for key in required})
    except RuntimeError as error:
        raise ValueError(f"{path} is no {name}: {error}") from error
    classifier = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        classifier.weight.copy_(weight)
        classifier.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return Checkpoint(
        description=f"torchvision {name}",
        body=nn.Sequential(network.features, nn.ReLU()),
        classifier=classifier,
        channels=int(tensors[STEM].shape[1]),
        outputs=output_names(path),
        source=f"the file {path.name}",
    )


def _without_prefix(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """`tensors` without what stands before `features.`, such as `densenet121.` or `model.`."""
    stems = [name for name in tensors if name.endswith(STEM)]
    if len(stems) != 1:
        shown = ", ".join(list(tensors)[:3])
        raise ValueError(
            f"{path} holds {len(stems)} networks in torchvision's DenseNet layout ({STEM}), one is expected; "
            f"its first names are {shown}"
        )
    prefix = stems[0].removesuffix(STEM)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _architecture(tensors: Mapping[str, Tensor], path: Path) -> str:
    layers = [match.groups() for name in tensors if (match := _LAYER.match(name))]
    depths = tuple(sum(block == str(number) for block, _ in layers) for number in (1, 2, 3, 4))
    if depths not in DEPTHS:
        known = ", ".join(f"{name} {list(depth)}" for depth, name in DEPTHS.items())
        raise ValueError(f"{path} has dense blocks of {list(depths)} layers; known are {known}")
    return DEPTHS[depths]


def _empty(name: str, channels: int) -> Any:
    import torchvision.models

    network = getattr(torchvision.models, name)(weights=None, num_classes=1)
    if channels != 3:
        stem = network.features.conv0
        network.features.conv0 = nn.Conv2d(
            channels, stem.out_channels, stem.kernel_size, stem.stride, stem.padding, bias=False
        )
    return network


def output_names(path: Path) -> tuple[str, ...] | None:
    """The names of the outputs that a checkpoint says itself; None where it does not.

    A list of strings beside the state dict, or in a safetensors file's metadata, as JSON or with commas.
    """
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return next((_listed(metadata[key]) for key in NAMED if key in metadata), None)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} holds more than numbers: {error}") from error
    for key in NAMED:
        names = content.get(key)
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def _listed(text: str) -> tuple[str, ...]:
    if not text.lstrip().startswith("["):
        return tuple(name.strip() for name in text.split(","))
    return tuple(str(name) for name in json.loads(text))
