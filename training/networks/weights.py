"""Files of weights: read, brought to today's names, and loaded into a body.

Nothing that a file says is run: pickles are read with `weights_only`, safetensors hold numbers alone.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

# Checkpoints keep the network beside the optimiser's state, under one of these.
NESTED: Final = ("state_dict", "model")
# torchvision named the parts of a dense layer `norm.1` until dots were no longer allowed in names.
OLD_NAME: Final = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A network's state dict under today's names, and where it came from."""

    source: str
    tensors: Mapping[str, Tensor]


def read_weights(path: Path) -> Weights:
    """The state dict in a `.safetensors` file, or in one that torch saved.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no state dict, is damaged, or would run code.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights at {path}")
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path} holds a {type(content).__name__}, where a state dict is expected")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path} is no state dict: {str(name)[:80]!r} is a {type(value).__name__}")
    return Weights(source=str(path), tensors=todays_names(content))


def _safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error


def _pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or holds more than numbers, which could run code when read. Save the "
            "network's state_dict() alone, best as safetensors"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is not a file that torch saved, or is damaged: {error}") from error


def todays_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without DataParallel's `module.`, and with `norm1` for the old `norm.1`."""
    return {OLD_NAME.sub(r"\1\2.", name.removeprefix("module.")): tensor for name, tensor in state.items()}


def load_body(network: nn.Module, weights: Weights) -> None:
    """Copy all but the classifier of `weights` into `network`, which keeps its own classifier.

    The classifier's rows are the classes of whoever trained it: ImageNet's, or findings in another order.

    Raises:
        ValueError: names or shapes differ; the message shows both sides.
    """
    own_tensors = network.state_dict()
    file_tensors = {name: tensor for name, tensor in weights.tensors.items() if not _classifies(name)}
    # A count of batches seen, which older files lack and evaluation does not use.
    expected = {
        name for name in own_tensors if not _classifies(name) and not name.endswith("num_batches_tracked")
    }
    shapes = [
        f"{name}: {list(file_tensors[name].shape)} in the file, "
        f"{list(own_tensors[name].shape)} in the network"
        for name in sorted(expected & file_tensors.keys())
        if file_tensors[name].shape != own_tensors[name].shape
    ]
    problems = {
        "only in the file": sorted(file_tensors.keys() - own_tensors.keys()),
        "only in the network": sorted(expected - file_tensors.keys()),
        "of another shape": shapes,
    }
    if any(problems.values()):
        listed = "; ".join(f"{what}: {_listing(names)}" for what, names in problems.items() if names)
        raise ValueError(f"the weights of {weights.source} do not fit. {listed}")
    network.load_state_dict({**own_tensors, **file_tensors})


def _classifies(name: str) -> bool:
    return name.startswith("classifier.")


def _listing(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
