"""Published weights as tests make them: random DenseNets under the names that their authors use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CHEXNET = (
    "Atelectasis,Cardiomegaly,Effusion,Infiltration,Mass,Nodule,Pneumonia,Pneumothorax,Consolidation,Edema,"
    "Emphysema,Fibrosis,Pleural_Thickening,Hernia"
)


def densenet121(outputs: int = 14, seed: int = 0) -> Any:
    """torchvision's, random; its batch normalisations have seen something."""
    from torchvision.models import densenet121 as make

    torch.manual_seed(seed)
    return make(weights=None, num_classes=outputs)


def chexnet_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As arnoweng/CheXNet's model.pth.tar keeps them: DataParallel, a wrapper, dots in the layers' names."""
    return {
        "module.densenet121."
        + re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", name).replace(
            "classifier.", "classifier.0."
        ): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }


def write_chexnet(path: Path) -> Any:
    """A checkpoint of CheXNet's kind at `path`; returns the network in it."""
    network = densenet121()
    torch.save({"epoch": 7, "best_loss": 0.2, "state_dict": chexnet_names(network.state_dict())}, path)
    return network.eval()


class Hostile:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))
