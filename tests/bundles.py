"""Small real bundles, made in a second without torch: for every test that needs a model but no opinion.

The networks are fixed random ones. They keep the contract to the letter: uint8 in, logits and maps out, and
the mean of a map plus a constant is its logit. Findings at even positions of `findings.NAMES` come out
positive on ordinary images, those at odd positions negative.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cxrserve.bundle.contract import (
    STRIDE,
    Contract,
    Lineage,
    Member,
    write_contract,
)
from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.findings import NAMES
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.types import Fit, ProfileName

_CHANNELS = 8
_OPSET = 17
_IR_VERSION = 9


def write_tiny_bundle(
    folder: Path,
    sizes: Sequence[int] = (64, 128, 256, 512),
    *,
    profile: ProfileName = "mimic-cxr-jpg",
    fit: Fit = "squash",
    seed: int = 0,
    bias: float = 2.0,
) -> Path:
    """Write a bundle of one tiny network a size into `folder`, made if need be; returns `folder`.

    `bias` is what the logits lie around: above 0 at even positions, as much below it at odd ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    members = tuple(_write_member(folder, size, random, bias) for size in sizes)
    weights_FS = random.dirichlet(np.ones(len(sizes)), size=len(NAMES))
    contract = Contract(
        name="tiny",
        version="1.0.0",
        lineage=Lineage(
            recipe="tests.bundles",
            data="none: random weights",
            data_sha256=None,
            split_sha256=None,
            code_version="0",
            created="2026-01-01",
        ),
        findings=NAMES,
        preprocessing=Preprocessing(profile=profile, fit=fit, filter="area", sizes=tuple(sizes)),
        members=members,
        stack=tuple(tuple(row.tolist()) for row in weights_FS),
        operating_points={
            name: OperatingPoint(
                threshold=0.5, sensitivity=None, specificity=None, chosen_for="tests", data="none"
            )
            for name in NAMES
        },
        heatmap_scale=1.0,
        intended_use="Tests of this program.",
        limits=("Knows nothing.",),
    )
    write_contract(folder, contract)
    return folder


def _write_member(folder: Path, size: int, random: np.random.Generator, around: float) -> Member:
    features = random.normal(0, 1.0, (_CHANNELS, 1, 3, 3)).astype(np.float32)
    classes = random.normal(0, 0.25, (len(NAMES), _CHANNELS, 1, 1)).astype(np.float32)
    bias = np.where(np.arange(len(NAMES)) % 2 == 0, around, -around).astype(np.float32)
    model = tiny_network(size, features, classes, bias).SerializeToString()
    path = folder / f"scale_{size}.onnx"
    path.write_bytes(model)
    return Member(
        size=size,
        file=path.name,
        sha256=hashlib.sha256(model).hexdigest(),
        architecture="mean pooling, 3×3 convolution, ReLU, 1×1 convolution",
        parameters=features.size + classes.size + bias.size,
        normalisation="x / 255 - 0.5",
    )


def tiny_network(
    size: int, features: NDArray[np.float32], classes: NDArray[np.float32], bias: NDArray[np.float32]
) -> onnx.ModelProto:
    """A member of `size`: features [C, 1, 3, 3], classes [14, C, 1, 1], bias [14]."""
    cells = size // STRIDE
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["grey", "unit"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "half"], ["normal"]),
        helper.make_node(
            "AveragePool", ["normal"], ["pooled"], kernel_shape=[STRIDE, STRIDE], strides=[STRIDE, STRIDE]
        ),
        helper.make_node("Conv", ["pooled", "features"], ["seen"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["seen"], ["active"]),
        helper.make_node("Conv", ["active", "classes"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Add", ["flat", "bias"], ["logits"]),
    ]
    constants = {
        "unit": np.array(1 / 255, np.float32),
        "half": np.array(0.5, np.float32),
        "features": features,
        "classes": classes,
        "bias": bias,
    }
    graph = helper.make_graph(
        nodes,
        f"tiny_{size}",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, size, size])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(NAMES)]),
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", len(NAMES), cells, cells]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    return model
