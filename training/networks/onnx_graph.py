"""A member's ONNX graph as a torch module, down to its last features: what gradients are taken through.

A bundle holds graphs and no torch networks. Reading the graph back means that the receptive field shown is
that of the very file that serves, wherever it was trained.

Legend: N images, S side of the image, K channels of the last features, h and w S/32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from cxrserve.bundle.contract import STRIDE
from cxrserve.findings import NAMES
from training.networks.receptive_field import Field

Attributes = dict[str, Any]
# Side of the image that shapes are found with: bodies take any.
SMALL: Final = 4 * STRIDE


class GraphNetwork(nn.Module):
    """The part of a member between `image` and its last features.

    Raises:
        ValueError: an operation that is not known here.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        graph = onnx.load_from_string(model).graph
        constants = {
            initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer
        }
        for node in graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        nodes = [node for node in graph.node if node.op_type != "Constant"]
        self._names = {name: f"constant_{index}" for index, name in enumerate(constants)}
        for name, array in constants.items():
            self.register_buffer(self._names[name], torch.from_numpy(np.array(array)))
        # A member of MapNetwork has parameters, whose device is asked for.
        self.here = nn.Parameter(torch.zeros(0))
        self.nodes = _down_to_features(nodes, self._shapes(nodes))

    def features(self, image_N1SS: Tensor) -> Tensor:
        """The last features, [N, K, h, w], of float grey [N, 1, S, S]."""
        values: dict[str, Tensor] = {"image": image_N1SS}
        for node in self.nodes:
            values[node.output[0]] = self._run(node, values)
        return values[self.nodes[-1].output[0]]

    def _run(self, node: onnx.NodeProto, values: dict[str, Tensor]) -> Tensor:
        if node.op_type not in OPERATIONS:
            raise ValueError(f"the operation {node.op_type} of the graph is not known here")
        inputs = [values[name] if name in values else self._constant(name) for name in node.input]
        return OPERATIONS[node.op_type](inputs, attributes_of(node))

    def _constant(self, name: str) -> Tensor:
        return self.get_buffer(self._names[name])

    def _kernel(self, node: onnx.NodeProto) -> int:
        """Side of a sliding window; a convolution may leave it to its weights to say."""
        if node.op_type == "Conv":
            return int(self._constant(node.input[1]).shape[-1])
        return int(attributes_of(node).get("kernel_shape", (1,))[0])

    @torch.no_grad()
    def _shapes(self, nodes: list[onnx.NodeProto]) -> dict[str, tuple[int, ...]]:
        """Of every value for a small image; operations that are not known, as heads have them, left out."""
        values: dict[str, Tensor] = {"image": torch.zeros(1, 1, SMALL, SMALL)}
        for node in nodes:
            if node.op_type in OPERATIONS and all(
                name in values or name in self._names for name in node.input
            ):
                values[node.output[0]] = self._run(node, values)
        return {name: tuple(value.shape) for name, value in values.items()}

    def theoretical_field(self) -> Field:
        """Theoretical receptive field of one cell of the last features, over every path through the graph."""
        fields: dict[str, Field] = {"image": Field()}
        for node in self.nodes:
            incoming = [fields[name] for name in node.input if name in fields]
            fields[node.output[0]] = _through(node, incoming, self._kernel(node))
        return fields[self.nodes[-1].output[0]]


def _down_to_features(
    nodes: list[onnx.NodeProto], shapes: dict[str, tuple[int, ...]]
) -> list[onnx.NodeProto]:
    """The nodes that the last features depend on, themselves last.

    The features are the last value on the grid of the maps that both outputs depend on and that has not
    been told apart into findings yet.
    """
    both = _upstream(nodes, "logits") & _upstream(nodes, "maps")
    grid = (SMALL // STRIDE, SMALL // STRIDE)
    candidates = [
        node.output[0]
        for node in nodes
        if node.output[0] in both
        and len(shape := shapes.get(node.output[0], ())) == 4
        and shape[2:] == grid
        and shape[1] != len(NAMES)
    ]
    if not candidates:
        raise ValueError("the graph has no features on the grid of its maps")
    needed = _upstream(nodes, candidates[-1])
    return [node for node in nodes if node.output[0] in needed]


def _upstream(nodes: list[onnx.NodeProto], name: str) -> set[str]:
    makers = {node.output[0]: node for node in nodes}
    upstream: set[str] = set()
    waiting = [name]
    while waiting:
        value = waiting.pop()
        if value not in upstream:
            upstream.add(value)
            waiting.extend(makers[value].input if value in makers else ())
    return upstream


def attributes_of(node: onnx.NodeProto) -> Attributes:
    """The attributes of `node` by name."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _padding(attributes: Attributes) -> int:
    """One figure for all sides.

    Raises:
        ValueError: the sides differ, or are left to the engine.
    """
    pads = set(attributes.get("pads", [0]))
    if len(pads) != 1 or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        raise ValueError(f"the padding {attributes.get('pads')} of the graph is not the same on all sides")
    return int(pads.pop())


def _convolution(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    return functional.conv2d(
        inputs[0],
        inputs[1],
        inputs[2] if len(inputs) > 2 else None,
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=_padding(attributes),
        dilation=tuple(attributes.get("dilations", (1, 1))),
        groups=attributes.get("group", 1),
    )


def _normalisation(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    x, scale, bias, mean, variance = inputs
    return functional.batch_norm(x, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _max_pool(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    return functional.max_pool2d(
        inputs[0],
        attributes["kernel_shape"],
        # torch's own default is the side of the window, ONNX's is 1.
        tuple(attributes.get("strides", (1, 1))),
        _padding(attributes),
        tuple(attributes.get("dilations", (1, 1))),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    if set(attributes.get("dilations", (1,))) != {1}:
        raise ValueError(
            f"an average over a window with dilations {attributes['dilations']} is not known here"
        )
    return functional.avg_pool2d(
        inputs[0],
        attributes["kernel_shape"],
        tuple(attributes.get("strides", (1, 1))),
        _padding(attributes),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def _pad(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    mode = attributes.get("mode", b"constant").decode()
    sides = inputs[1].tolist()
    top, left, bottom, right = sides[2], sides[3], sides[6], sides[7]
    torch_mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[mode]
    return functional.pad(inputs[0], (left, right, top, bottom), mode=torch_mode)


def _reduce_mean(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    return inputs[0].mean(tuple(inputs[1].tolist()), keepdim=bool(attributes.get("keepdims", 1)))


OPERATIONS: Final[dict[str, Callable[[list[Tensor], Attributes], Tensor]]] = {
    "Cast": lambda x, _: x[0].float() if not x[0].is_floating_point() else x[0],
    "Identity": lambda x, _: x[0],
    "Add": lambda x, _: x[0] + x[1],
    "Sub": lambda x, _: x[0] - x[1],
    "Mul": lambda x, _: x[0] * x[1],
    "Div": lambda x, _: x[0] / x[1],
    "Relu": lambda x, _: x[0].relu(),
    "Sigmoid": lambda x, _: x[0].sigmoid(),
    "Swish": lambda x, _: functional.silu(x[0]),
    "Concat": lambda x, attributes: torch.cat(x, attributes["axis"]),
    "Shape": lambda x, _: torch.tensor(x[0].shape),
    "Expand": lambda x, _: x[0].expand(torch.Size(x[1].tolist())),
    "GlobalAveragePool": lambda x, _: x[0].mean((2, 3), keepdim=True),
    "Conv": _convolution,
    "BatchNormalization": _normalisation,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
}
SLIDING: Final = ("Conv", "MaxPool", "AveragePool")
GLOBAL_POOLS: Final = ("GlobalAveragePool", "ReduceMean")


def _through(node: onnx.NodeProto, incoming: list[Field], kernel: int) -> Field:
    if not incoming:
        return Field()
    field = Field(
        # What sees the whole image (squeeze and excitation) meets what does not; its stride is nothing.
        stride=max(field_in.stride for field_in in incoming),
        first=min(field_in.first for field_in in incoming),
        last=max(field_in.last for field_in in incoming),
    )
    if node.op_type in SLIDING:
        attributes = attributes_of(node)
        return field.through(
            kernel,
            attributes.get("strides", [1])[0],
            _padding(attributes),
            attributes.get("dilations", [1])[0],
        )
    if node.op_type in GLOBAL_POOLS:
        return Field(stride=field.stride, first=-np.inf, last=np.inf)
    if node.op_type == "Pad":
        raise ValueError("the receptive field of a padding apart is not known")
    return field
