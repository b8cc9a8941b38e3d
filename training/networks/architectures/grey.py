"""Networks made for colour, looking at grey: their first convolution folded, exactly.

A colour network sees (grey − mean_c) / std_c in each channel c, padded with zeros. That zero is the channel's
own mean grey, another one in each channel, so no single channel of grey with one padding value does the same
at the border. Two channels do: grey, and a one for every pixel that is there. Folded so, a network answers as
before to the precision of float32, border included, and its first convolution does two thirds of the work.
"""

from __future__ import annotations

import copy
from typing import Final

import torch
from torch import Tensor, nn

from training.networks.base import Head, MapNetwork

# What the grey channel is centred and scaled by, over 0..1: any figures do, these keep it about zero.
# Mean and standard deviation of ImageNet's channels, over 0..1: torchvision's own figures.
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
GREY_MEAN: Final = sum(IMAGENET_MEAN) / 3
GREY_STD: Final = sum(IMAGENET_STD) / 3


class GreyNetwork(MapNetwork):
    """A folded body and a head; `architecture` says which."""

    normalisation = (
        "(grey/255 − ImageNet mean) / ImageNet standard deviation, the same grey in three channels, "
        "folded into the first convolution"
    )

    def __init__(self, body: nn.Module, head: Head, architecture: str) -> None:
        super().__init__(body, head)
        self.architecture = architecture

    def normalised(self, image_N1SS: Tensor) -> Tensor:
        """Grey about zero, and ones: float32 [N, 2, S, S]."""
        grey = (image_N1SS.float() - 255 * GREY_MEAN) / (255 * GREY_STD)
        return torch.cat([grey, torch.ones_like(grey)], 1)


@torch.no_grad()
def fold_colour(convolution: nn.Module) -> nn.Conv2d:
    """The convolution of grey and ones that answers as `convolution` of the same grey in three channels.

    Channel c is (grey − GREY_MEAN)/GREY_STD · GREY_STD/std_c + (GREY_MEAN − mean_c)/std_c · 1.

    Raises:
        ValueError: it is no convolution of three channels in one group.
    """
    if not isinstance(convolution, nn.Conv2d) or (convolution.in_channels, convolution.groups) != (3, 1):
        raise ValueError(
            f"a convolution of three channels in one group can be folded to grey, not {convolution}"
        )
    mean, std = (torch.tensor(figures, dtype=torch.float64) for figures in (IMAGENET_MEAN, IMAGENET_STD))
    weight = convolution.weight.double()
    grey, ones = ((weight * by[:, None, None]).sum(1) for by in (GREY_STD / std, (GREY_MEAN - mean) / std))
    folded = copy.deepcopy(convolution)
    folded.in_channels = 2
    folded.weight = nn.Parameter(torch.stack([grey, ones], 1).to(convolution.weight.dtype))
    return folded
