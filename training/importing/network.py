"""An imported body and last layer as a member of a bundle: 14 rows, zeros where it knows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from cxrserve.findings import INDEX, NAMES, canonical
from training.importing.checkpoint import Checkpoint
from training.networks.architectures.grey import IMAGENET_MEAN, IMAGENET_STD
from training.networks.base import MapNetwork
from training.networks.heads import LinearHead

NormalisationName = Literal["imagenet", "chexpert", "half", "xrv"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalisation:
    """(grey − mean) / std by channel, grey from 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    description: str


NORMALISATIONS: Final[dict[NormalisationName, Normalisation]] = {
    "imagenet": Normalisation(
        mean=tuple(255 * mean for mean in IMAGENET_MEAN),
        std=tuple(255 * std for std in IMAGENET_STD),
        description="(grey/255 − ImageNet mean) / ImageNet standard deviation, the same grey in each channel",
    ),
    "chexpert": Normalisation(mean=(128.0,), std=(64.0,), description="(grey − 128) / 64"),
    "half": Normalisation(mean=(127.5,), std=(127.5,), description="grey/127.5 − 1"),
    "xrv": Normalisation(
        mean=(127.5,), std=(127.5 / 1024,), description="(2·grey/255 − 1)·1024, as TorchXRayVision has it"
    ),
}


class ImportedNetwork(MapNetwork):
    """A published network. `known` are the findings it judges, in the order of `cxrserve.findings`."""

    def __init__(
        self, checkpoint: Checkpoint, outputs: tuple[str, ...], normalisation: Normalisation
    ) -> None:
        rows = rows_of(outputs)
        if not rows:
            raise ValueError(f"none of the outputs {', '.join(outputs)} is one of: {', '.join(NAMES)}")
        if len(outputs) != checkpoint.classifier.out_features:
            raise ValueError(
                f"{checkpoint.source} has {checkpoint.classifier.out_features} outputs, and {len(outputs)} "
                f"names were given: {', '.join(outputs)}"
            )
        super().__init__(checkpoint.body, LinearHead(_fourteen(checkpoint.classifier, rows)))
        self.architecture = checkpoint.description
        self.normalisation = normalisation.description
        self.known: Final = tuple(name for name in NAMES if INDEX[name] in rows)
        channels = checkpoint.channels
        for name, values in (("mean", normalisation.mean), ("std", normalisation.std)):
            if len(values) not in (1, channels):
                raise ValueError(
                    f"the normalisation {normalisation.description!r} has {len(values)} channels, "
                    f"{checkpoint.source} looks at {channels}"
                )
            every = values * channels if len(values) == 1 else values
            self.register_buffer(name, torch.tensor(every).view(1, -1, 1, 1))

    def normalised(self, image_N1SS: Tensor) -> Tensor:
        """float32 [N, C, S, S]."""
        return (image_N1SS.float() - self.get_buffer("mean")) / self.get_buffer("std")


# What others call a finding of ours. Pleural_Thickening is one of the things that "Pleural Other" means,
# Nodule and Mass two of what "Lung Lesion" means, Infiltration one of "Lung Opacity": they are not the same,
# and are left out.
SAME: Final = {"effusion": "Pleural Effusion"}


def rows_of(outputs: tuple[str, ...]) -> dict[int, int]:
    """Position in `cxrserve.findings` of each output that is one of the 14, to its own position.

    Raises:
        ValueError: two outputs have the same name.
    """
    rows: dict[int, int] = {}
    for position, name in enumerate(outputs):
        try:
            index = INDEX[canonical(SAME.get(name.casefold(), name))]
        except ValueError:
            continue  # a finding that is none of the 14
        if index in rows:
            raise ValueError(f"two outputs are called {name}: which of them is meant?")
        rows[index] = position
    return rows


@torch.no_grad()
def _fourteen(classifier: nn.Linear, rows: dict[int, int]) -> nn.Linear:
    """`classifier` with 14 outputs by name; those it does not know are zero, and never used."""
    linear = nn.Linear(classifier.in_features, len(NAMES))
    linear.weight.zero_()
    linear.bias.zero_()
    for index, position in rows.items():
        linear.weight[index] = classifier.weight[position]
        linear.bias[index] = classifier.bias[position]
    return linear
