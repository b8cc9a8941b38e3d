"""The published architectures by name: each builds a network that takes grey and gives logits and maps.

grey.py    networks made for colour, looking at grey
trunks.py  the published bodies as their publishers lay them out, so that their weights fit by name
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal, Protocol

from training.networks.architectures import trunks
from training.networks.architectures.grey import GreyNetwork, fold_colour
from training.networks.architectures.trunks import Trunk
from training.networks.base import STRIDE
from training.networks.heads import ConcatHead, LinearHead
from training.networks.rewrite import pool_before_mixing
from training.networks.weights import Weights, load_body

HeadKind = Literal["linear", "concat"]


class Builder(Protocol):
    """Makes a network for images of `size` pixels.

    `head` is "linear" (average pooling, one layer) or "concat" (Chizari's average and maximum, two layers).
    `weights` are the body's, in its publisher's layout; without them it starts from scratch. A
    `memory_efficient` DenseNet computes its concatenations again in the backward pass instead of keeping
    them (Pleiss et al. 2017): the same gradients, more slowly, in less memory. What is computed twice is also
    averaged twice: the running statistics of those normalisations follow the batches faster.

    Raises:
        ValueError: the weights are not of this architecture, or it cannot do what is asked.
    """

    def __call__(
        self,
        size: int,
        *,
        head: HeadKind = "linear",
        weights: Weights | None = None,
        memory_efficient: bool = False,
    ) -> GreyNetwork: ...


class _TrunkMaker(Protocol):
    def __call__(self, *, memory_efficient: bool) -> Trunk: ...


def _build(
    make: _TrunkMaker,
    size: int,
    *,
    head: HeadKind = "linear",
    weights: Weights | None = None,
    memory_efficient: bool = False,
) -> GreyNetwork:
    if size < STRIDE or size % STRIDE:
        raise ValueError(f"the side of an image is a multiple of {STRIDE} pixels, not {size}")
    trunk = make(memory_efficient=memory_efficient)
    if weights is not None:
        load_body(trunk.original, weights)
    trunk.stem[0] = fold_colour(trunk.stem[0])
    pool_before_mixing(trunk.body)  # less to train, too
    classifier, head_description = _HEADS[head](trunk)
    return GreyNetwork(trunk.body, classifier, f"{trunk.description}, {head_description}")


def _linear(trunk: Trunk) -> tuple[LinearHead, str]:
    return LinearHead(trunk.classifier, dropout=trunk.dropout), "linear head"


def _concat(trunk: Trunk) -> tuple[ConcatHead, str]:
    return ConcatHead(trunk.classifier.in_features), "average and maximum pooling, two linear layers"


_HEADS: Final[dict[HeadKind, Callable[[Trunk], tuple[LinearHead | ConcatHead, str]]]] = {
    "linear": _linear,
    "concat": _concat,
}

ARCHITECTURES: Final[dict[str, Builder]] = {
    "densenet121": partial(_build, trunks.densenet121),
    "densenet161": partial(_build, trunks.densenet161),
    "densenet121d": partial(_build, trunks.densenet121d),
    "densenetblur121d": partial(_build, trunks.densenetblur121d),
    "efficientnet_b4": partial(_build, trunks.efficientnet_b4),
}
