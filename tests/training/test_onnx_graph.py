"""Operations of an ONNX graph as torch runs them, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from training.networks.onnx_graph import OPERATIONS, attributes_of

SIDE = 17


def by_onnx_runtime(node: onnx.NodeProto, image_N1SS: np.ndarray) -> np.ndarray:
    graph = helper.make_graph(
        [node],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(image_N1SS.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": image_N1SS})[0])


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2]},
        {"strides": [2, 3], "pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"pads": [1, 1, 1, 1], "count_include_pad": 1},
    ],
    ids=str,
)
def test_a_pool_is_onnx_runtimes(kind: str, attributes: dict[str, Any]) -> None:
    if kind == "MaxPool":
        attributes = {name: value for name, value in attributes.items() if name != "count_include_pad"}
    node = helper.make_node(kind, ["x"], ["y"], kernel_shape=[3, 3], **attributes)
    image_N1SS = np.random.default_rng(0).normal(size=(2, 1, SIDE, SIDE + 1)).astype(np.float32)
    pooled = OPERATIONS[kind]([torch.from_numpy(image_N1SS)], attributes_of(node)).numpy()
    np.testing.assert_allclose(pooled, by_onnx_runtime(node, image_N1SS), atol=1e-6)


def test_a_maximum_over_a_dilated_window_is_onnx_runtimes() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], dilations=[2, 2])
    image_N1SS = np.random.default_rng(0).normal(size=(1, 1, SIDE, SIDE)).astype(np.float32)
    pooled = OPERATIONS["MaxPool"]([torch.from_numpy(image_N1SS)], attributes_of(node)).numpy()
    np.testing.assert_array_equal(pooled, by_onnx_runtime(node, image_N1SS))


def test_an_average_over_a_dilated_window_is_refused() -> None:
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], dilations=[2, 2])
    with pytest.raises(ValueError, match=r"dilations \[2, 2\] is not known"):
        OPERATIONS["AveragePool"]([torch.zeros(1, 1, SIDE, SIDE)], attributes_of(node))
