"""Every operator that the torch engine knows, against ONNX Runtime; and the forms that it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from cxrserve.engines.torch_operators import OPERATORS, SPLITTERS, Unknown

Array = NDArray[Any]
# The opset of the exports; the first that the engine reads is 13.
OPSET = 18


def _noise(*shape: int) -> Array:
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(np.float32)


def _integers(*values: int) -> Array:
    return np.array(values, np.int64)


X = _noise(2, 4, 9, 10)
WINDOW = {"kernel_shape": [3, 3]}
CASES: list[tuple[str, list[Array | None], dict[str, Any]]] = [
    ("Add", [X, _noise(4, 1, 1)], {}),
    ("AveragePool", [X], WINDOW),
    ("AveragePool", [X], WINDOW | {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
    ("AveragePool", [X], WINDOW | {"strides": [2, 2], "pads": [1, 0, 1, 0], "count_include_pad": 1}),
    ("AveragePool", [X], WINDOW | {"pads": [0, 1, 2, 1], "count_include_pad": 1}),
    ("AveragePool", [X], WINDOW | {"auto_pad": "VALID"}),
    ("BatchNormalization", [X, _noise(4), _noise(4), _noise(4), np.abs(_noise(4)) + 0.1], {"epsilon": 1e-3}),
    ("Cast", [X], {"to": TensorProto.FLOAT16}),
    ("Cast", [np.arange(256, dtype=np.uint8)], {"to": TensorProto.FLOAT}),
    ("Cast", [X > 0], {"to": TensorProto.FLOAT}),
    ("Clip", [X, np.array(-0.5, np.float32), np.array(0.7, np.float32)], {}),
    ("Clip", [X, None, np.array(0.7, np.float32)], {}),
    ("Concat", [X, _noise(2, 3, 9, 10)], {"axis": 1}),
    ("Concat", [X, X], {"axis": -1}),
    ("Conv", [X, _noise(6, 4, 3, 3)], {}),
    ("Conv", [X, _noise(6, 4, 3, 2), _noise(6)], {"strides": [2, 1], "pads": [1, 0, 1, 0]}),
    ("Conv", [X, _noise(6, 4, 3, 3)], {"pads": [0, 1, 2, 3]}),
    ("Conv", [X, _noise(8, 2, 3, 3), _noise(8)], {"group": 2, "dilations": [2, 1], "pads": [2, 1, 2, 1]}),
    ("Div", [X, np.abs(_noise(4, 1, 1)) + 1], {}),
    ("Div", [_integers(7, -7, 9), _integers(2, 2, -4)], {}),
    ("Einsum", [_noise(2, 3, 4), _noise(2, 4, 5, 6)], {"equation": "nfk,nkhw->nfhw"}),
    ("Equal", [_integers(1, 2, 3), _integers(1, 0, 3)], {}),
    ("Expand", [_noise(4, 1), _integers(2, 1, 6)], {}),
    ("Flatten", [X], {}),
    ("Flatten", [X], {"axis": 2}),
    ("Flatten", [X], {"axis": 0}),
    ("Gemm", [_noise(3, 4), _noise(4, 5), _noise(5)], {}),
    ("Gemm", [_noise(4, 3), _noise(5, 4), _noise(5)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [_noise(3, 4), _noise(4, 5)], {"alpha": 2.0}),
    ("GlobalAveragePool", [X], {}),
    ("Greater", [X, np.array(0.1, np.float32)], {}),
    ("Identity", [X], {}),
    ("MatMul", [_noise(2, 3, 4), _noise(4, 5)], {}),
    ("MaxPool", [X], WINDOW),
    ("MaxPool", [X], WINDOW | {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", [X], WINDOW | {"strides": [2, 2], "pads": [0, 1, 2, 1]}),
    ("MaxPool", [X], WINDOW | {"strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", [X], WINDOW | {"dilations": [2, 2]}),
    ("Mul", [X, _noise(2, 4, 1, 1)], {}),
    ("Pad", [X, _integers(0, 0, 1, 2, 0, 0, 3, 4)], {"mode": "reflect"}),
    ("Pad", [X, _integers(0, 0, 1, 2, 0, 0, 3, 4)], {"mode": "edge"}),
    ("Pad", [X, _integers(0, 1, 1, 2, 1, 0, 3, 4), np.array(1.5, np.float32)], {}),
    ("Pad", [X, _integers(1, 2, 3, 4), None, _integers(-1, 2)], {}),
    ("ReduceMax", [X, _integers(2, 3)], {"keepdims": 0}),
    ("ReduceMean", [X, _integers(-1, -2)], {"keepdims": 0}),
    ("ReduceMean", [X, _integers(1)], {}),
    ("ReduceMean", [X], {}),
    ("ReduceMean", [X], {"noop_with_empty_axes": 1}),
    ("ReduceSum", [X, _integers(0, 1)], {}),
    ("Relu", [X], {}),
    ("Reshape", [X, _integers(0, -1, 10)], {}),
    ("Shape", [X], {}),
    ("Shape", [X], {"start": 1, "end": -1}),
    ("Sigmoid", [X], {}),
    ("Softmax", [X], {}),
    ("Softmax", [X], {"axis": 1}),
    ("Squeeze", [_noise(2, 1, 3, 1), _integers(1)], {}),
    ("Squeeze", [_noise(2, 1, 3, 1)], {}),
    ("Sub", [X, _noise(4, 1, 1)], {}),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [X], {}),
    ("Unsqueeze", [_noise(2, 3), _integers(0, -1)], {}),
    ("Where", [X > 0, X, _noise(4, 1, 1)], {}),
]
# Newer than the exports' opset.
NEWER = [("Swish", [X], {}), ("Swish", [X], {"alpha": 0.5})]
REFUSED: list[tuple[str, list[Array | None], dict[str, Any], str]] = [
    ("Conv", [X, _noise(6, 4, 3, 3)], {"auto_pad": b"SAME_UPPER"}, "auto_pad SAME_UPPER"),
    ("Conv", [_noise(2, 4, 9), _noise(6, 4, 3)], {}, "over 1 axes"),
    ("AveragePool", [X], WINDOW | {"ceil_mode": 1}, "beyond the edge"),
    ("AveragePool", [X], WINDOW | {"pads": [0, 1, 2, 1]}, "another padding"),
    ("BatchNormalization", [X, *[_noise(4)] * 4], {"training_mode": 1}, "still in training"),
    ("Cast", [X], {"to": TensorProto.STRING}, "type 8"),
    ("Pad", [X, _integers(0, 1, 1, 2, 0, 0, 3, 4)], {"mode": b"reflect"}, "mode reflect"),
    ("Relu", [None], {}, "without its input 0"),
]


def _ours(operator: str, inputs: list[Array | None], attributes: dict[str, Any]) -> Array:
    tensors = [None if each is None else torch.from_numpy(each.copy()) for each in inputs]
    result: Array = OPERATORS[operator](tensors, attributes).numpy()
    return result


def _reference(
    operator: str, inputs: list[Array | None], attributes: dict[str, Any], opset: int, outputs: int = 1
) -> list[Array]:
    given = {f"in{index}": each for index, each in enumerate(inputs) if each is not None}
    names = ["" if each is None else f"in{index}" for index, each in enumerate(inputs)]
    made = [f"out{index}" for index in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(operator, names, made, **attributes)],
        "one_operator",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape)
            for name, each in given.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in made],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers: list[Array] = session.run(made, given)
    return answers


def _compare(operator: str, inputs: list[Array | None], attributes: dict[str, Any], opset: int) -> None:
    node = helper.make_node(operator, [], [], **attributes)
    as_read = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    found = _ours(operator, inputs, as_read)
    (expected,) = _reference(operator, inputs, attributes, opset)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_every_operator_has_a_case() -> None:
    assert {operator for operator, _, _ in (*CASES, *NEWER)} == OPERATORS.keys()


@pytest.mark.parametrize(("operator", "inputs", "attributes"), CASES)
def test_an_operator_is_onnx_runtimes(
    operator: str, inputs: list[Array | None], attributes: dict[str, Any]
) -> None:
    _compare(operator, inputs, attributes, OPSET)


@pytest.mark.parametrize(
    ("lengths", "attributes"),
    [(None, {"axis": 2, "num_outputs": 3}), (None, {"axis": 3, "num_outputs": 4}), ([1, 3], {"axis": 1})],
)
def test_parts_are_onnx_runtimes(lengths: list[int] | None, attributes: dict[str, int]) -> None:
    inputs: list[Array | None] = [X] if lengths is None else [X, _integers(*lengths)]
    found = SPLITTERS["Split"](
        [None if each is None else torch.from_numpy(each) for each in inputs], attributes
    )
    expected = _reference("Split", inputs, attributes, OPSET, outputs=len(found))
    assert len(found) == len(lengths or range(attributes["num_outputs"]))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize(("operator", "inputs", "attributes"), NEWER)
def test_a_newer_operator_is_that_of_the_standard(
    operator: str, inputs: list[Array | None], attributes: dict[str, Any]
) -> None:
    found = _ours(operator, inputs, attributes)
    alpha = attributes.get("alpha", 1.0)
    np.testing.assert_allclose(found, X / (1 + np.exp(-alpha * X)), rtol=1e-5, atol=2e-6)


def test_axes_that_are_an_attribute_as_before_opset_18() -> None:
    _compare("ReduceMean", [X], {"axes": [2, 3], "keepdims": 0}, 17)


@pytest.mark.parametrize(("operator", "inputs", "attributes", "why"), REFUSED)
def test_a_form_that_is_not_known_is_refused(
    operator: str, inputs: list[Array | None], attributes: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unknown, match=why):
        _ours(operator, inputs, attributes)
