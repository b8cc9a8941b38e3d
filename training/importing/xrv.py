"""TorchXRayVision's networks, through its own package: fetched by it, built by it, read by us.

Its own loading runs whatever its file says (`weights_only=False`); the older files are pickles of whole
networks. Here they are read with `weights_only` and a list of the classes that such a network consists of.
"""

from __future__ import annotations

import collections
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.importing.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class XrvModel:
    """A network of TorchXRayVision.

    Attributes:
        thresholds: by output, its own operating point on σ(logit).
        size: side of the images it was trained on.
    """

    checkpoint: Checkpoint
    thresholds: tuple[float | None, ...]
    size: int


def read_xrv(name: str, folder: Path | None = None) -> XrvModel:
    """The published network `name`, e.g. "densenet121-res224-all".

    Args:
        folder: where the package keeps its downloads; what is there is not fetched again.

    Raises:
        ModuleNotFoundError: the extra [xrv] is not installed.
        ValueError: there is no such network, it cannot be fetched, or its file holds more than a network.
    """
    from torchxrayvision import models

    if name not in models.model_urls or not name.startswith(("densenet", "resnet")):
        known = ", ".join(
            sorted(item for item in models.model_urls if item.startswith(("densenet", "resnet")))
        )
        raise ValueError(f"TorchXRayVision has no network {name[:60]!r}; it has {known}")
    about = models.model_urls[name]
    try:
        path = Path(models.get_weights(name, str(folder) if folder else None))
    except OSError as error:
        raise ValueError(f"{about['weights_url']} cannot be fetched: {error}") from error
    thresholds = tuple(None if math.isnan(item) else float(item) for item in about["op_threshs"])
    # An output without a threshold was never trained, whatever its name says.
    outputs = tuple(
        label if threshold is not None else ""
        for label, threshold in zip(about["labels"], thresholds, strict=True)
    )
    network = _built(name, len(outputs), models)
    try:
        network.load_state_dict(_state(path, models))
    except RuntimeError as error:
        raise ValueError(f"{path} is not the network {name}: {error}") from error
    body, classifier = _parts(network)
    return XrvModel(
        checkpoint=Checkpoint(
            description=f"TorchXRayVision {name}",
            body=body,
            classifier=classifier,
            channels=1,
            outputs=outputs,
            source=f"TorchXRayVision's {name}, {about['weights_url']}",
        ),
        thresholds=thresholds,
        size=int(about["input_resolution"]),
    )


def _built(name: str, outputs: int, models: Any) -> Any:
    if name.startswith("densenet"):
        return models.DenseNet(num_classes=outputs, in_channels=1)
    import torchvision.models

    network = getattr(torchvision.models, name.partition("-")[0])(weights=None, num_classes=outputs)
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    return network


def _parts(network: Any) -> tuple[nn.Module, nn.Linear]:
    if hasattr(network, "features"):
        return nn.Sequential(network.features, nn.ReLU()), network.classifier
    stem = (network.conv1, network.bn1, network.relu, network.maxpool)
    return nn.Sequential(*stem, network.layer1, network.layer2, network.layer3, network.layer4), network.fc


def _state(path: Path, models: Any) -> dict[str, Any]:
    """The state dict in `path`, which holds one, or a whole pickled DenseNet of the package.

    Raises:
        ValueError: it holds anything else.
    """
    allowed = [
        *(getattr(models, item) for item in ("DenseNet", "_DenseLayer", "_DenseBlock", "_Transition")),
        *(nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Linear),
        *(collections.OrderedDict, set),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is damaged, or holds more than a network, which could run code when read"
        ) from error
    if isinstance(content, nn.Module):
        for module in content.modules():
            # Networks pickled by older versions of torch lack it.
            if not hasattr(module, "_non_persistent_buffers_set"):
                module._non_persistent_buffers_set = set()
        content = content.state_dict()
    return {name: tensor for name, tensor in content.items() if name != "op_threshs"}
