"""Receptive fields of a network, theoretical and effective.

The theoretical field is computed from the layers. The effective one is measured: Luo et al. 2016, in the
form of Haque et al. 2021, who square the gradients before averaging them.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from training.networks.base import MapNetwork


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Cell i of a layer depends on the pixels i·`stride` + `first` to i·`stride` + `last`, inclusive.

    A layer that sees the whole image (squeeze and excitation) has infinite ends.
    """

    stride: int = 1
    first: float = 0
    last: float = 0

    @property
    def size(self) -> float:
        """Its side in pixels; `math.inf` where there is no end to it."""
        return self.last - self.first + 1

    def through(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> Field:
        """The field after a sliding window."""
        return Field(
            stride=self.stride * stride,
            first=self.first - padding * self.stride,
            last=self.last + ((kernel - 1) * dilation - padding) * self.stride,
        )


# Layers and functions that look at no neighbour.
POINTWISE_LAYERS: Final = (
    nn.BatchNorm2d,
    nn.ReLU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
)
POINTWISE_FUNCTIONS: Final = (
    torch.cat,
    torch.relu,
    functional.relu,
    operator.add,
    operator.iadd,
    operator.mul,
)
# Layers of torchvision and timm, by name: neither is imported to ask what a layer is.
NAMED_LEAVES: Final = ("StochasticDepth", "BlurPool2d")


def theoretical_field(body: nn.Module) -> Field:
    """The field of `body`'s last cells, over every path through it.

    Raises:
        ValueError: a layer whose geometry is not known here, or branches of different strides that meet.
    """
    # Wrapped: what is traced is never a leaf itself.
    root = nn.Sequential(body)
    graph, modules = _Tracer().trace(root), dict(root.named_modules())
    fields: dict[fx.Node, Field] = {}
    for node in graph.nodes:
        incoming = [fields[source] for source in node.all_input_nodes]
        if node.op == "placeholder":
            fields[node] = Field()
        elif node.op == "call_module":
            fields[node] = _through_module(modules[str(node.target)], _together(incoming))
        elif node.op == "output" or node.target in POINTWISE_FUNCTIONS:
            fields[node] = _together(incoming)
        else:
            raise ValueError(f"the receptive field of {node.target} is not known")
    return fields[node]


class _Tracer(fx.Tracer):
    """Follows a body down to the layers whose geometry is known."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or type(m).__name__ in NAMED_LEAVES

    def to_bool(self, obj: fx.Proxy) -> bool:
        # torchvision's dense layers ask whether to recompute: nothing needs a gradient here.
        return False


def _through_module(module: nn.Module, field: Field) -> Field:
    layer: Any = module
    if isinstance(module, POINTWISE_LAYERS) or type(module).__name__ == "StochasticDepth":
        return field
    if isinstance(module, nn.Conv2d | nn.MaxPool2d):
        sides = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        return field.through(*(_side(side, module) for side in sides))
    if isinstance(module, nn.AvgPool2d):
        return field.through(
            *(_side(side, module) for side in (layer.kernel_size, layer.stride, layer.padding))
        )
    if type(module).__name__ == "BlurPool2d":
        return field.through(layer.filt_size, layer.stride, layer.padding[0])
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return Field(stride=field.stride, first=-math.inf, last=math.inf)
    raise ValueError(f"the receptive field of {module} is not known")


def _side(value: Any, module: nn.Module) -> int:
    """One figure for both axes."""
    sides = set(value) if isinstance(value, tuple) else {value}
    if len(sides) != 1 or not isinstance(side := sides.pop(), int):
        raise ValueError(f"the receptive field of {module} is not square")
    return side


def _together(fields: list[Field]) -> Field:
    """The field that branches see between them where they meet."""
    strides = {field.stride for field in fields}
    if len(strides) != 1:
        raise ValueError(f"branches of the strides {sorted(strides)} meet")
    return Field(
        stride=strides.pop(),
        first=min(field.first for field in fields),
        last=max(field.last for field in fields),
    )


def effective_field(
    network: MapNetwork, images: Iterable[NDArray[np.uint8]], *, seed: int = 0
) -> NDArray[np.float64]:
    """Effective receptive field of the middle cell of the last features, float64 [S, S].

    For each image the gradient, by the pixels, of that cell's mean over the channels; squared, so that signs
    do not cancel, and averaged over the images: an uncentred variance. Every image is shifted, by up to half
    its side either way, what leaves at one edge coming back at the other: the field is the network's, not the
    chest's. The network is looked at in evaluation mode, on its own device, and left as it is.

    Args:
        images: uint8 [S, S] each, at the size the network was trained for.

    Raises:
        ValueError: there are no images.
    """
    # Without gradients by the weights, half the memory.
    network = copy.deepcopy(network).eval().requires_grad_(False)
    device = next(network.parameters()).device
    generator = np.random.default_rng(seed)
    squares, count = np.zeros(()), 0
    for image_SS in images:
        half = len(image_SS) // 2
        shifted_SS = np.roll(image_SS, tuple(generator.integers(-half, half + 1, 2)), (0, 1))
        squares = squares + _gradient(network, torch.from_numpy(shifted_SS).to(device)) ** 2
        count += 1
    if not count:
        raise ValueError("an effective receptive field is an average over images, and there are none")
    return squares / count


def _gradient(network: MapNetwork, image_SS: Tensor) -> NDArray[np.float64]:
    """Of the middle cell's mean over the channels, by grey level: [S, S]."""
    image = image_SS.float()[None, None].requires_grad_()
    features_NKhw = network.features(image)
    middle = features_NKhw[..., features_NKhw.shape[-2] // 2, features_NKhw.shape[-1] // 2].mean()
    (gradient,) = torch.autograd.grad(middle, image)
    return gradient[0, 0].double().cpu().numpy()


def energy_radius(field_SS: NDArray[np.float64], share: float) -> float:
    """Radius of the circle about the field's centre of gravity that holds `share` of it, in image sides.

    Raises:
        ValueError: `share` is not between 0 and 1, or the field is nowhere above zero.
    """
    total = field_SS.sum()
    if not 0 < share <= 1 or not total > 0:
        raise ValueError(f"no radius holds a share of {share} of a field that sums to {total}")
    axes = [np.arange(side) for side in field_SS.shape]
    down, across = np.meshgrid(*axes, indexing="ij", sparse=True)
    centre = [(field_SS * positions).sum() / total for positions in (down, across)]
    distances = np.hypot(down - centre[0], across - centre[1]).ravel()
    order = np.argsort(distances)
    held = np.cumsum(field_SS.ravel()[order])
    index = min(int(np.searchsorted(held, share * total)), len(order) - 1)
    return float(distances[order[index]] / field_SS.shape[0])
