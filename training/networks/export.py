"""Export of a torch network as a member of a bundle: one ONNX file with `image`, `logits` and `maps`."""

from __future__ import annotations

import copy
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cxrserve.bundle.contract import Member
from cxrserve.engines.onnxruntime import OnnxRuntimeEngine
from training.networks.base import MapNetwork, count_parameters
from training.networks.rewrite import pool_before_mixing

if TYPE_CHECKING:
    from cxrserve.engines.openvino import OpenVinoEngine

OPSET: Final = 18
# Largest difference between torch and an engine in single precision, relative to the output's own spread
# (its standard deviation): sums of the same products in another order.
TOLERANCE: Final = 1e-3


def export_member(network: MapNetwork, size: int, folder: Path) -> tuple[Member, dict[str, float]]:
    """Write `network` as `scale_<size>.onnx` into `folder`.

    Returns:
        the member, and the largest differences found between torch and the engines, by what was compared,
        in units of the output's standard deviation.

    Raises:
        ValueError: an engine answers something else than torch.
    """
    parameters = count_parameters(network)
    network = folded(network)
    path = folder / f"scale_{size}.onnx"
    to_onnx(network, size, path)
    model = path.read_bytes()
    differences = compare_engines(network, size, model)
    if any(difference > TOLERANCE for difference in differences.values()):
        raise ValueError(
            f"{path} answers otherwise than torch: {differences}, in units of the output's spread; at most "
            f"{TOLERANCE} is allowed"
        )
    member = Member(
        size=size,
        file=path.name,
        sha256=hashlib.sha256(model).hexdigest(),
        architecture=network.architecture,
        parameters=parameters,
        normalisation=network.normalisation,
    )
    return member, differences


def folded(network: MapNetwork) -> MapNetwork:
    """A copy in evaluation mode, with as little to compute as the same answers allow.

    The head's gain and the batch normalisations are folded into the weights; averages come first.
    """
    network = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    pool_before_mixing(network)
    network.head.fold_gain()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            _fold_batch_norms(module)
    return network


def _fold_batch_norms(sequence: nn.Sequential) -> None:
    for index in range(len(sequence) - 1):
        convolution, norm = sequence[index], sequence[index + 1]
        if isinstance(convolution, nn.Conv2d) and type(norm) is nn.BatchNorm2d:  # a subclass may activate too
            sequence[index] = fuse_conv_bn_eval(convolution, norm)
            sequence[index + 1] = nn.Identity()


def to_onnx(network: MapNetwork, size: int, path: Path) -> None:
    """Write `network` as ONNX, weights inside the file, any number of images of one size."""
    image = torch.zeros(2, 1, size, size, dtype=torch.uint8)
    program = torch.onnx.export(
        network,
        (image,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["logits", "maps"],
        dynamic_shapes=({0: torch.export.Dim("images")},),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    # Traces of the program that wrote it (source paths among them) are no part of a model.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def compare_engines(network: MapNetwork, size: int, model: bytes) -> dict[str, float]:
    """Largest difference between torch and each engine in single precision, on one image of noise.

    In units of the standard deviation of torch's own output. OpenVINO is compared where it is installed: a
    machine that serves from its GPU may be without.
    """
    image = np.random.default_rng(size).integers(0, 256, (1, 1, size, size), np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image))
    differences: dict[str, float] = {}
    for engine_class in _engines():
        engine = engine_class(model, size=size, precision="f32", threads=torch.get_num_threads())
        output = engine.run(image)
        differences[f"logits torch–{engine.name} f32"] = _apart(output.logits_NF, expected.logits.numpy())
        differences[f"maps torch–{engine.name} f32"] = _apart(output.maps_NFhw, expected.maps.numpy())
    return differences


def _engines() -> list[type[OnnxRuntimeEngine] | type[OpenVinoEngine]]:
    if find_spec("openvino") is None:
        return [OnnxRuntimeEngine]
    from cxrserve.engines.openvino import OpenVinoEngine

    return [OnnxRuntimeEngine, OpenVinoEngine]


def _apart(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(actual - expected).max() / expected.std())
