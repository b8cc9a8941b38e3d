"""The networks: grey in, 14 logits and the 14 maps they are the means of.

Every network here ends in ReLU, global average pooling and one linear layer. With features A and weights w,
logit_f = b_f + mean_ij Σ_k w_fk A_kij, so the map Σ_k w_fk A_k is Grad-CAM before its ReLU (the gradient is
w_fk, up to 1/(h·w)), and its mean plus the bias is the logit. One 1×1 convolution makes all 14 maps, and
the logits are read off them: they cannot disagree. Another head, in `training.networks.heads`, has a closed
form of its own; other bodies are in `training.networks.architectures`.

Legend: N images, F findings, S side of the image, h and w S/32, K channels of the last features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrserve.bundle.contract import STRIDE as STRIDE
from cxrserve.findings import NAMES


class Output(NamedTuple):
    """`logits` float32 [N, 14] and `maps` float32 [N, 14, h, w], Grad-CAM before its ReLU, times h·w.

    Behind a linear head maps.mean((2, 3)) + bias == logits.
    """

    logits: Tensor
    maps: Tensor


class Head(nn.Module, ABC):
    """Head of a network: last features to logits and maps, in two halves so that a loss can see the evidence.

    `bias` is the last thing added to the logits; exp(`log_gain`) multiplies all before it, and the maps.
    """

    bias: nn.Parameter
    log_gain: nn.Parameter

    @abstractmethod
    def evidence(self, features_NKhw: Tensor) -> Tensor:
        """Evidence of each cell by itself: [N, any, h, w]."""

    @abstractmethod
    def output(self, evidence_NEhw: Tensor) -> Output:
        """Logits and maps of that evidence."""

    @abstractmethod
    def fold_gain(self) -> None:
        """Multiply the gain into the weights; nothing the head answers changes."""


class MapHead(Head):
    """Global average pooling and one linear layer, done in the other order, so that the maps come out.

    Each finding's row of weights carries a gain, exp(`log_gain`): a finding that covers one cell of 4,096
    moves the mean by 1/4096 of what its cell says, and gradient optim on plain weights is slow to make up
    for that. The gain starts at cells / `TYPICAL_CELLS` and is multiplied in when the network is exported.
    """

    TYPICAL_CELLS: Final = 16

    def __init__(self, channels: int, cells: int, *, gain: bool) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, len(NAMES), 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(len(NAMES)))
        start = torch.full((len(NAMES),), cells / self.TYPICAL_CELLS if gain else 1.0)
        self.log_gain = nn.Parameter(start.log(), requires_grad=gain)

    def evidence(self, features_NKhw: Tensor) -> Tensor:
        """Evidence of each cell by itself, before the gain: [N, 14, h, w]."""
        evidence: Tensor = self.project(features_NKhw)
        return evidence

    def output(self, evidence_NFhw: Tensor) -> Output:
        maps_NFhw = evidence_NFhw.float() * self.log_gain.exp()[:, None, None]
        return Output(maps_NFhw.mean((2, 3)) + self.bias, maps_NFhw)

    @torch.no_grad()
    def fold_gain(self) -> None:
        """Multiply the gain into the weights; nothing the head answers changes."""
        self.project.weight.mul_(self.log_gain.exp()[:, None, None, None])
        self.log_gain.zero_()


class MapNetwork(nn.Module, ABC):
    """A body that ends in its last activation at stride 32, and the head. Takes uint8 [N, 1, S, S]."""

    architecture: str
    normalisation: str

    def __init__(self, body: nn.Module, head: Head) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def features(self, image_N1SS: Tensor) -> Tensor:
        """The last activations, after ReLU, [N, K, h, w]: Grad-CAM's target layer."""
        features: Tensor = self.body(self.normalised(image_N1SS))
        return features

    @abstractmethod
    def normalised(self, image_N1SS: Tensor) -> Tensor:
        """uint8 grey as the first layer wants it."""

    def evidence(self, image_N1SS: Tensor) -> Tensor:
        """Evidence of each cell by itself, before the head's gain: [N, 14, h, w]."""
        return self.head.evidence(self.features(image_N1SS))

    def forward(self, image_N1SS: Tensor) -> Output:
        return self.head.output(self.evidence(image_N1SS))


class SmallNetwork(MapNetwork):
    """The demo's network: a stem that strides by four, then residual stages, about 140,000 parameters.

    Its receptive field is 416 pixels at whatever size it looks: all of a film of 256, a fifth of one of
    2048. What it can know of the whole chest there is what pooling adds up.
    """

    architecture = "small residual network, 8×8 stem at stride 4"
    normalisation = "grey/128 − 1"

    def __init__(self, size: int, widths: tuple[int, int, int, int] = (16, 24, 32, 48)) -> None:
        stem, eighth, sixteenth, last = widths
        first = _step(1, stem, kernel=8, stride=4)
        body = nn.Sequential(
            first,
            _step(stem, eighth, kernel=3, stride=2),
            Residual(eighth),
            _step(eighth, sixteenth, kernel=3, stride=2),
            Residual(sixteenth),
            _step(sixteenth, last, kernel=3, stride=2),
            Residual(last),
            Residual(last),
        )
        _start_without_mean(first)
        super().__init__(body, MapHead(last, (size // STRIDE) ** 2, gain=True))

    def normalised(self, image_N1SS: Tensor) -> Tensor:
        """Grey about zero: [N, 1, S, S]."""
        return image_N1SS.float() / 128 - 1


class Residual(nn.Module):
    """x + conv(ReLU(conv(x))), normalised, then ReLU: a network of these ends in ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _step(channels, channels, kernel=3, stride=1)
        self.second = _step(channels, channels, kernel=3, stride=1)[:2]

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


@torch.no_grad()
def _start_without_mean(step: nn.Sequential) -> None:
    """Take the mean out of three filters of four.

    A hairline is a few grey levels among two hundred: behind a filter that passes the mean, the first batch
    normalisation divides it by the contrast of the whole chest, and it is hardly ever learnt.
    """
    weight = next(step.parameters())
    filters = weight[len(weight) // 4 :]
    filters -= filters.mean((1, 2, 3), keepdim=True)


def _step(channels_in: int, channels_out: int, *, kernel: int, stride: int) -> nn.Sequential:
    padding = (kernel - 1) // 2 if stride == 1 else (kernel - stride + 1) // 2
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())


def count_parameters(network: nn.Module) -> int:
    """Learnable numbers in `network`; the head's gain is not counted, as it ends up in the weights."""
    return sum(
        parameter.numel() for name, parameter in network.named_parameters() if not name.endswith("log_gain")
    )
