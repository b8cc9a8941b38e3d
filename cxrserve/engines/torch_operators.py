"""Operators of ONNX in torch: those that exports of members use, as the standard defines them (opset 13 on).

An attribute or input that changes what an operator computes is either followed or refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Attributes = dict[str, Any]
Inputs = list[Tensor | None]
Operator = Callable[[Inputs, Attributes], Tensor]
Splitter = Callable[[Inputs, Attributes], Sequence[Tensor]]

# Numbers of ONNX's TensorProto.DataType.
TYPES: Final = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}
_PLAIN_PADDING: Final = ("NOTSET", "VALID", "")


class Unknown(Exception):
    """An operator that is not known here, or not in this form."""


def _the(inputs: Inputs, position: int) -> Tensor:
    value = inputs[position]
    if value is None:
        raise Unknown(f"an operator without its input {position}")
    return value


def _optional(inputs: Inputs, position: int) -> Tensor | None:
    return inputs[position] if len(inputs) > position else None


def numbered(value: Tensor) -> Tensor:
    """A constant of integers that knows its numbers; to an export, reading them would be a computation."""
    value.numbers = value.reshape(-1).tolist()  # type: ignore[attr-defined]
    return value


def _integers(value: Tensor) -> list[int]:
    """Shapes, axes and paddings: integers, which lie in the host's memory."""
    numbers: list[int] | None = getattr(value, "numbers", None)
    return [int(each) for each in value.reshape(-1).tolist()] if numbers is None else numbers


def _sides(attributes: Attributes) -> tuple[int, int, int, int]:
    """Padding at the top, left, bottom and right."""
    mode = attributes.get("auto_pad", b"NOTSET").decode()
    if mode not in _PLAIN_PADDING:
        raise Unknown(f"padding that the engine has to find (auto_pad {mode})")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return top, left, bottom, right


def _pair(attributes: Attributes, name: str) -> tuple[int, int]:
    """An attribute for height and width; 1 where it is missing, for the stride too."""
    height, width = attributes.get(name, (1, 1))
    return height, width


def _convolution(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, weight = _the(inputs, 0), _the(inputs, 1)
    if weight.ndim != 4:
        raise Unknown(f"a convolution over {weight.ndim - 2} axes")
    top, left, bottom, right = _sides(attributes)
    padding = top, left
    if (top, left) != (bottom, right):
        x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
    return functional.conv2d(
        x,
        weight,
        _optional(inputs, 2),
        stride=_pair(attributes, "strides"),
        padding=padding,
        dilation=_pair(attributes, "dilations"),
        groups=attributes.get("group", 1),
    )


def _normalisation(inputs: Inputs, attributes: Attributes) -> Tensor:
    if attributes.get("training_mode", 0):
        raise Unknown("a batch normalisation that is still in training")
    x, scale, bias, mean, variance = (_the(inputs, position) for position in range(5))
    return functional.batch_norm(x, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _max_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    height, width = attributes["kernel_shape"]
    top, left, bottom, right = _sides(attributes)
    x, padding = _the(inputs, 0), (top, left)
    if (top, left) != (bottom, right) or top > height // 2 or left > width // 2:
        x, padding = functional.pad(x, (left, right, top, bottom), value=-math.inf), (0, 0)
    return functional.max_pool2d(
        x,
        (height, width),
        _pair(attributes, "strides"),
        padding,
        _pair(attributes, "dilations"),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    height, width = attributes["kernel_shape"]
    top, left, bottom, right = _sides(attributes)
    counted = bool(attributes.get("count_include_pad", 0))
    if attributes.get("ceil_mode", 0) or _pair(attributes, "dilations") != (1, 1):
        raise Unknown("an average over windows that reach beyond the edge (ceil_mode), or with dilations")
    x, padding = _the(inputs, 0), (top, left)
    if (top, left) != (bottom, right) or top > height // 2 or left > width // 2:
        if not counted:
            raise Unknown("an average over windows with another padding on each side")
        x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
    return functional.avg_pool2d(
        x, (height, width), _pair(attributes, "strides"), padding, count_include_pad=counted
    )


def _pad(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, sides = _the(inputs, 0), _integers(_the(inputs, 1))
    value, axes = _optional(inputs, 2), _optional(inputs, 3)
    each_axis = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in _integers(axes)]
    begins = dict(zip(each_axis, sides[: len(each_axis)], strict=True))
    ends = dict(zip(each_axis, sides[len(each_axis) :], strict=True))
    mode = attributes.get("mode", b"constant").decode()
    if mode == "constant":
        widths = [
            width for axis in reversed(range(x.ndim)) for width in (begins.get(axis, 0), ends.get(axis, 0))
        ]
        return functional.pad(x, widths, value=0.0 if value is None else float(value))
    if (
        mode not in ("reflect", "edge")
        or x.ndim != 4
        or any(begins.get(axis, 0) | ends.get(axis, 0) for axis in (0, 1))
    ):
        raise Unknown(f"padding of {x.ndim} axes in the mode {mode}")
    widths = [width for axis in (3, 2) for width in (begins.get(axis, 0), ends.get(axis, 0))]
    return functional.pad(x, widths, mode="reflect" if mode == "reflect" else "replicate")


def _axes(inputs: Inputs, attributes: Attributes) -> list[int] | None:
    """Axes of a reduction: an input from opset 18 on, an attribute before; None where they are not named."""
    given = _optional(inputs, 1)
    axes = attributes.get("axes") if given is None else _integers(given)
    return list(axes) if axes else None


def _reduction(reduce: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def run(inputs: Inputs, attributes: Attributes) -> Tensor:
        x, axes = _the(inputs, 0), _axes(inputs, attributes)
        if axes is None and attributes.get("noop_with_empty_axes", 0):
            return x
        return reduce(x, axes or list(range(x.ndim)), bool(attributes.get("keepdims", 1)))

    return run


def _global_average(inputs: Inputs, _: Attributes) -> Tensor:
    x = _the(inputs, 0)
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def _flatten(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, axis = _the(inputs, 0), attributes.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _reshape(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, shape = _the(inputs, 0), _integers(_the(inputs, 1))
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)]
    return x.reshape(shape)


def _expand(inputs: Inputs, _: Attributes) -> Tensor:
    x = _the(inputs, 0)
    shape = np.broadcast_shapes(tuple(x.shape), tuple(_integers(_the(inputs, 1))))
    return x.expand(shape)


def _unsqueeze(inputs: Inputs, _: Attributes) -> Tensor:
    x, axes = _the(inputs, 0), _integers(_the(inputs, 1))
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _squeeze(inputs: Inputs, _: Attributes) -> Tensor:
    x, axes = _the(inputs, 0), _optional(inputs, 1)
    return x.squeeze() if axes is None else x.squeeze(tuple(_integers(axes)))


def _gemm(inputs: Inputs, attributes: Attributes) -> Tensor:
    a, b, c = _the(inputs, 0), _the(inputs, 1), _optional(inputs, 2)
    a, b = a.T if attributes.get("transA", 0) else a, b.T if attributes.get("transB", 0) else b
    product = a @ b
    if (alpha := attributes.get("alpha", 1.0)) != 1:
        product = product * alpha
    return product if c is None else product + c * attributes.get("beta", 1.0)


def _divide(inputs: Inputs, _: Attributes) -> Tensor:
    a, b = _the(inputs, 0), _the(inputs, 1)
    whole = not a.is_floating_point() and not b.is_floating_point()
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _cast(inputs: Inputs, attributes: Attributes) -> Tensor:
    if attributes["to"] not in TYPES:
        raise Unknown(f"a cast to the type {attributes['to']} of ONNX")
    return _the(inputs, 0).to(TYPES[attributes["to"]])


def _shape(inputs: Inputs, attributes: Attributes) -> Tensor:
    x = _the(inputs, 0)
    return torch.tensor(x.shape[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _swish(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, alpha = _the(inputs, 0), attributes.get("alpha", 1.0)
    return functional.silu(x) if alpha == 1 else x * torch.sigmoid(x * alpha)


def _clip(inputs: Inputs, _: Attributes) -> Tensor:
    return torch.clamp(_the(inputs, 0), _optional(inputs, 1), _optional(inputs, 2))


def _split(inputs: Inputs, attributes: Attributes) -> Sequence[Tensor]:
    """Parts of the lengths that are given, or equal ones, of which the last may be shorter."""
    x, lengths, axis = _the(inputs, 0), _optional(inputs, 1), attributes.get("axis", 0)
    if lengths is not None:
        return torch.split(x, _integers(lengths), axis)
    return torch.split(x, -(-x.shape[axis] // attributes["num_outputs"]), axis)


def _of_one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda inputs, _: function(_the(inputs, 0))


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, _: function(_the(inputs, 0), _the(inputs, 1))


OPERATORS: Final[dict[str, Operator]] = {
    "Add": _of_two(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _normalisation,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(
        [each for each in inputs if each is not None], attributes["axis"]
    ),
    "Conv": _convolution,
    "Div": _divide,
    "Einsum": lambda inputs, attributes: torch.einsum(
        attributes["equation"].decode(), *[each for each in inputs if each is not None]
    ),
    "Equal": _of_two(torch.eq),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "Greater": _of_two(torch.gt),
    "Identity": _of_one(lambda x: x),
    "MatMul": _of_two(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _of_two(torch.mul),
    "Pad": _pad,
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keep)),
    "Relu": _of_one(functional.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _of_one(torch.sigmoid),
    "Softmax": lambda inputs, attributes: functional.softmax(_the(inputs, 0), attributes.get("axis", -1)),
    "Squeeze": _squeeze,
    "Sub": _of_two(torch.sub),
    "Swish": _swish,
    "Transpose": lambda inputs, attributes: _the(inputs, 0).permute(
        attributes.get("perm") or tuple(reversed(range(_the(inputs, 0).ndim)))
    ),
    "Unsqueeze": _unsqueeze,
    "Where": lambda inputs, _: torch.where(_the(inputs, 0), _the(inputs, 1), _the(inputs, 2)),
}
# Operators with several outputs. `num_outputs` is there also where the node leaves it to be counted.
SPLITTERS: Final[dict[str, Splitter]] = {"Split": _split}
