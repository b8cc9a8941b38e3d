"""Batch normalisation that no convolution takes in: the same answers without it, in half precision too."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torchvision.models import DenseNet

from cxrserve.engines.base import Output
from cxrserve.engines.onnxruntime import OnnxRuntimeEngine
from training.networks.affine import fold_normalisations
from training.networks.architectures.grey import GreyNetwork, fold_colour
from training.networks.base import MapHead
from training.networks.export import export_member
from training.precision.fp16 import to_half

SIZE = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A DenseNet of two layers a block, exported, whose normalisations have something to do."""
    torch.manual_seed(0)
    features = DenseNet(8, (2, 2, 2, 2), 16).features
    features.conv0 = fold_colour(features.conv0)
    for norm in [module for module in features.modules() if isinstance(module, nn.BatchNorm2d)]:
        norm.running_mean = torch.randn(norm.num_features) / 2
        norm.running_var = torch.rand(norm.num_features) * 2 + 0.3
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
    channels = features.norm5.num_features
    network = GreyNetwork(nn.Sequential(features, nn.ReLU()), MapHead(channels, 4, gain=False), "small")
    folder = tmp_path_factory.mktemp("affine")
    export_member(network, SIZE, folder)
    return (folder / f"scale_{SIZE}.onnx").read_bytes()


def _answer(model: bytes) -> Output:
    images = np.random.default_rng(0).integers(0, 256, (4, 1, SIZE, SIZE)).astype(np.uint8)
    return OnnxRuntimeEngine(model, size=SIZE, precision="f32", threads=1).run(images)


def _apart(found: Output, expected: Output) -> float:
    """In standard deviations of the logits and of the maps, whichever is more."""
    return max(
        float(np.abs(found.logits_NF - expected.logits_NF).max() / expected.logits_NF.std()),
        float(np.abs(found.maps_NFhw - expected.maps_NFhw).max() / expected.maps_NFhw.std()),
    )


def _count(model: bytes, operation: str) -> int:
    return sum(node.op_type == operation for node in onnx.load_from_string(model).graph.node)


def test_a_factor_and_an_offset_answer_as_the_normalisation_did(model: bytes) -> None:
    folded = fold_normalisations(model)
    assert _count(model, "BatchNormalization") > 8
    assert _count(folded, "BatchNormalization") == 0
    onnx.checker.check_model(onnx.load_from_string(folded), full_check=True)
    assert _apart(_answer(folded), _answer(model)) < 1e-5


def test_features_without_places_are_normalised_too() -> None:
    """As in the head that concatenates pooled features: [N, C], and C must not come between N and 1."""
    batch_norm = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y"])
    generator = np.random.default_rng(0)
    values = {name: generator.uniform(0.5, 1.5, 5).astype(np.float32) for name in "sbmv"}
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (None, 5)) for name in "xy"]
    arrays = [numpy_helper.from_array(array, name) for name, array in values.items()]
    graph = helper.make_graph([batch_norm], "head", shapes[:1], shapes[1:], arrays)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    whole = made.SerializeToString()
    image_NC = generator.normal(size=(3, 5)).astype(np.float32)
    before, after = (
        np.asarray(onnx.reference.ReferenceEvaluator(onnx.load_from_string(each)).run(None, {"x": image_NC}))
        for each in (whole, fold_normalisations(whole))
    )
    assert after.shape == (1, 3, 5)
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_nothing_in_half_precision_is_left_in_float32_between_the_image_and_the_features(
    model: bytes,
) -> None:
    """One operation of another type would be computed on the CPU by ONNX Runtime, or cast by TensorRT."""
    half = to_half(model)
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(half), strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    types |= {each.name: each.data_type for each in graph.initializer}
    first, last = (index for index, node in enumerate(graph.node) if _is_edge(node, graph))
    for node in graph.node[first + 1 : last]:
        floats = {types[name] for name in (*node.input, *node.output)} - {TensorProto.INT64}
        assert floats == {TensorProto.FLOAT16}, node.name
    assert _count(half, "BatchNormalization") == 0
    assert _apart(_answer(half), _answer(model)) < 0.02


def _is_edge(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    """A cast between float32 and float16."""
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16)
    return node.op_type == "Cast" and node.attribute[0].i in kinds and node.input[0] != graph.input[0].name


def test_a_normalisation_without_its_parameters_is_refused(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    norm = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
    norm.input[3] = proto.graph.node[0].output[0]
    with pytest.raises(ValueError, match="does not have its parameters in the file"):
        fold_normalisations(proto.SerializeToString())


def test_what_float16_cannot_hold_is_refused(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    norm = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
    scale = next(each for each in proto.graph.initializer if each.name == norm.input[1])
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1e6), scale.name))
    with pytest.raises(ValueError, match="more than float16 can"):
        to_half(proto.SerializeToString())
