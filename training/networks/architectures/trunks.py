"""The published bodies as their publishers lay them out, so that their weights fit by name.

| name | published as |
|---|---|
| densenet121, densenet161 | Huang et al. 2017; torchvision. Haque et al. 2021 use the first, Chizari both |
| densenet121d | three 3×3 convolutions for the 7×7 of the stem (He et al. 2019) |
| densenetblur121d | the same, and blur before the stem's pooling strides (Zhang 2019); as in timm |
| efficientnet_b4 | Tan and Le 2019; torchvision. Haque et al. 2023 |
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from cxrserve.findings import NAMES


@dataclass(frozen=True, kw_only=True, slots=True)
class Trunk:
    """A network in its publisher's layout, and its parts.

    Attributes:
        original: the whole of it; its state dict has the published names.
        body: from normalised colour [N, 3, S, S] to the last activations [N, K, S/32, S/32]; its modules are
            `original`'s own.
        stem: the sequence whose first module is the first convolution.
        classifier: the last linear layer, K to 14, as the publisher starts it.
        dropout: before that layer, as published.
        description: for the bundle.
    """

    original: nn.Module
    body: nn.Sequential
    stem: nn.Sequential
    classifier: nn.Linear
    dropout: float = 0.0
    description: str


def densenet121(*, memory_efficient: bool = False) -> Trunk:
    from torchvision.models import densenet121

    original = densenet121(weights=None, num_classes=len(NAMES), memory_efficient=memory_efficient)
    return _densenet(original, "torchvision densenet121")


def densenet161(*, memory_efficient: bool = False) -> Trunk:
    from torchvision.models import densenet161

    original = densenet161(weights=None, num_classes=len(NAMES), memory_efficient=memory_efficient)
    return _densenet(original, "torchvision densenet161")


def densenet121d(*, memory_efficient: bool = False) -> Trunk:
    """DenseNet121 with the deep stem, named as timm names the layers of its densenetblur121d."""
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return _deep_stemmed(pool, "densenet121d", memory_efficient=memory_efficient)


def densenetblur121d(*, memory_efficient: bool = False) -> Trunk:
    """timm's densenetblur121d, layer for layer, so that its weights fit.

    Xclassifier's text has blur at each stride of two; timm, which it used, has it in the stem's pooling. The
    other strides are the first convolution's and the transitions', whose 2×2 averages blur already.
    """
    from timm.layers.blur_pool import BlurPool2d

    pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), BlurPool2d(STEM[-1], stride=2))
    return _deep_stemmed(pool, "timm densenetblur121d", memory_efficient=memory_efficient)


def efficientnet_b4(*, memory_efficient: bool = False) -> Trunk:
    """EfficientNet-B4. It ends in SiLU: the last features go down to −0.28, not to zero.

    Raises:
        ValueError: `memory_efficient` was asked for.
    """
    from torchvision.models import efficientnet_b4

    if memory_efficient:
        raise ValueError("efficientnet_b4 has no dense blocks to recompute: leave memory_efficient off")
    original = efficientnet_b4(weights=None, num_classes=len(NAMES))
    dropout, classifier = original.classifier
    return Trunk(
        original=original,
        body=original.features,
        stem=original.features[0],
        classifier=classifier,
        dropout=dropout.p,
        description="torchvision efficientnet_b4",
    )


# Channels after each convolution of the deep stem.
STEM: Final = (32, 32, 64)


def _deep_stemmed(pool: nn.Module, description: str, *, memory_efficient: bool) -> Trunk:
    from torchvision.models import densenet121

    original = densenet121(weights=None, num_classes=len(NAMES), memory_efficient=memory_efficient)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (channels_in, channels) in enumerate(zip((3, *STEM), STEM, strict=False)):
        stride = 2 if number == 0 else 1
        convolution = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight)
        layers[f"conv{number}"] = convolution
        layers[f"norm{number}"] = nn.BatchNorm2d(channels)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
    layers["pool0"] = pool
    blocks = list(original.features.named_children())
    layers.update(blocks[[name for name, _ in blocks].index("denseblock1") :])
    original.features = nn.Sequential(layers)
    return _densenet(original, description)


def _densenet(original: Any, description: str) -> Trunk:
    return Trunk(
        original=original,
        # The last ReLU is applied outside `features`.
        body=nn.Sequential(original.features, nn.ReLU()),
        stem=original.features,
        classifier=original.classifier,
        description=description,
    )
