"""A member's ONNX graph run by torch, node by node: one operator after the other, each as ONNX defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor

from cxrserve.engines.base import Shape, check_signature
from cxrserve.engines.torch_operators import (
    OPERATORS,
    SPLITTERS,
    Attributes,
    Operator,
    Splitter,
    Unknown,
    numbered,
)
from cxrserve.errors import BundleError

# Before, shapes of several operators were attributes; after, operators may mean something else.
OPSETS: Final = range(13, 27)
_OUTPUTS: Final = ("logits", "maps")
_PORT_TYPES: Final[dict[int, str]] = {int(TensorProto.FLOAT): "float32", int(TensorProto.UINT8): "uint8"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One node.

    Attributes:
        done_with: values that no later node reads; their memory is free again.
    """

    name: str
    operator: Operator | Splitter
    attributes: Attributes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done_with: tuple[str, ...]


class TorchGraph:
    """The graph of a member of `size`, its weights on `device`.

    Attributes:
        free_batch: it takes any number of images, and not one alone.

    Raises on construction:
        BundleError: it is no ONNX graph, not that of a member of `size`, or holds an operator that is not
            known here; says which.
    """

    def __init__(self, model: bytes, *, size: int, device: str) -> None:
        try:
            proto = onnx.load_from_string(model)
            onnx.checker.check_model(proto, full_check=True)
        except Exception as error:  # of protobuf, or of the checker: each has its own
            raise BundleError(f"the member of size {size} is not an ONNX graph: {error}") from error
        self._size = size
        for imported in proto.opset_import:
            if imported.domain in ("", "ai.onnx") and imported.version not in OPSETS:
                raise BundleError(
                    f"the member of size {size} is written in opset {imported.version} of ONNX; the torch "
                    f"engine reads {OPSETS[0]} to {OPSETS[-1]}: export it again, or use engine onnxruntime"
                )
        graph = proto.graph
        constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        inputs = _ports([port for port in graph.input if port.name not in constants])
        check_signature(size, inputs, _ports(graph.output))
        self.free_batch: Final = inputs["image"][1][0] is None
        nodes = [node for node in graph.node if not _moved_to(constants, node)]
        self._constants: Final = {name: _tensor(array, device) for name, array in constants.items()}
        last_read = {name: index for index, node in enumerate(nodes) for name in node.input}
        self._steps: Final = tuple(
            self._step(node, [name for name in {*node.input} if last_read[name] == index])
            for index, node in enumerate(nodes)
        )

    def _step(self, node: onnx.NodeProto, read_last: list[str]) -> _Step:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        outputs = tuple(node.output)
        standard = node.domain in ("", "ai.onnx")
        operator: Operator | Splitter | None = None
        if standard and len(outputs) == 1:
            operator = OPERATORS.get(node.op_type)
        elif standard:
            operator = SPLITTERS.get(node.op_type)
            attributes.setdefault("num_outputs", len(outputs))
        if operator is None:
            raise self._unknown(f"{node.op_type} with {len(outputs)} outputs", node.name)
        return _Step(
            name=node.name or node.op_type,
            operator=operator,
            attributes=attributes,
            inputs=tuple(node.input),
            outputs=outputs,
            done_with=tuple(
                name for name in read_last if name not in self._constants and name not in _OUTPUTS
            ),
        )

    def _unknown(self, what: str, where: str) -> BundleError:
        return BundleError(
            f"the member of size {self._size} holds an operator that the torch engine does not know: {what} "
            f"({where}). Use engine onnxruntime, or export the member again"
        )

    def run(self, image_N1SS: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and maps of uint8 [N, 1, S, S], in float32, where the weights are.

        Raises:
            BundleError: an operator is used in a form that is not known here.
        """
        values: dict[str, Tensor] = {"image": image_N1SS}
        for step in self._steps:
            inputs = [self._value(name, values) for name in step.inputs]
            try:
                made = step.operator(inputs, step.attributes)
            except Unknown as error:
                raise self._unknown(str(error), step.name) from error
            made = (made,) if isinstance(made, Tensor) else made
            values.update(zip(step.outputs, made, strict=True))
            for name in step.done_with:
                values.pop(name, None)
        return values["logits"], values["maps"]

    def _value(self, name: str, values: dict[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        return self._constants[name] if name in self._constants else values[name]


def _moved_to(constants: dict[str, NDArray[np.generic]], node: onnx.NodeProto) -> bool:
    """Put a node's value among the constants if it is one."""
    if node.op_type != "Constant":
        return False
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        constants[node.output[0]] = numpy_helper.to_array(value)
        return True
    if attribute.name in ("value_float", "value_floats"):
        constants[node.output[0]] = np.array(value, np.float32)
        return True
    if attribute.name in ("value_int", "value_ints"):
        constants[node.output[0]] = np.array(value, np.int64)
        return True
    return False


def _tensor(array: NDArray[np.generic], device: str) -> Tensor:
    """A constant where it is needed: shapes and axes, which are integers, stay with the host.

    Weights of convolutions have the channels of a place together, and what they are convolved with follows.
    """
    value = torch.from_numpy(np.array(array))
    if value.dtype == torch.int64:
        return numbered(value)
    value = value.to(device)
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def _ports(ports: list[onnx.ValueInfoProto]) -> dict[str, tuple[str, Shape]]:
    return {
        port.name: (
            _PORT_TYPES.get(int(kind.elem_type), TensorProto.DataType.Name(kind.elem_type)),
            tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim),
        )
        for port in ports
        for kind in (port.type.tensor_type,)
    }
