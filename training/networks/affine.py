"""Batch normalisation as what it is once trained: a factor and an offset for each channel.

Where it stands right behind a convolution, the exporter has folded it into that. Elsewhere, as in front of
the convolutions of a DenseNet, it is left in the graph, and half precision would do it harm: ONNX Runtime
computes it on a GPU only where its parameters are float16 like the rest, and goes to the CPU and back for
each otherwise; TensorRT rounds mean, variance and epsilon, of which the factor is made, before it makes it.
Here factor and offset are made in double precision, and only they are rounded.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


def fold_normalisations(model: bytes) -> bytes:
    """`model` with a Mul and an Add in place of each batch normalisation, in float32.

    Raises:
        ValueError: a normalisation whose parameters are not in the file, or that is still in training.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    arrays = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    ranks = _ranks(proto)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        value = node.output[0]
        names = f"{value}.factor", f"{value}.offset"
        for name, array_C in zip(names, _factor_and_offset(node, arrays), strict=True):
            array = _for_channels(array_C, ranks.get(node.input[0], 4))
            graph.initializer.append(numpy_helper.from_array(array, name))
        nodes.append(helper.make_node("Mul", [node.input[0], names[0]], [f"{value}.scaled"]))
        nodes.append(helper.make_node("Add", [f"{value}.scaled", names[1]], [value]))
    used = {name for node in nodes for name in node.input}
    initializers = [initializer for initializer in graph.initializer if initializer.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    return bytes(proto.SerializeToString())


def _factor_and_offset(
    node: onnx.NodeProto, arrays: dict[str, NDArray[np.generic]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    missing = [name for name in node.input[1:] if name not in arrays]
    if missing or attributes.get("training_mode", 0):
        raise ValueError(f"the batch normalisation {node.output[0]} does not have its parameters in the file")
    scale_C, bias_C, mean_C, variance_C = (arrays[name].astype(np.float64) for name in node.input[1:])
    factor_C = scale_C / np.sqrt(variance_C + attributes.get("epsilon", 1e-5))
    return factor_C, bias_C - mean_C * factor_C


def _ranks(proto: onnx.ModelProto) -> dict[str, int]:
    """The number of dimensions of each value that has a known shape."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input)
        if value.type.tensor_type.HasField("shape")
    }


def _for_channels(array_C: NDArray[np.float64], rank: int) -> NDArray[np.float32]:
    """As float32 [C, 1, ...], for values [N, C, ...] of `rank` dimensions: a head may normalise [N, C]."""
    return array_C.astype(np.float32).reshape(-1, *[1] * (rank - 2))
