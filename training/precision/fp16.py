"""A member in half precision for GPUs, its types written into the graph: TensorRT 11 takes them from there.

As autocast does it: the body's weights and activations are float16; what overflows or adds up many small
numbers stays float32. That is the normalisation of the image before the first convolution, and everything
behind the last features: maps, their means, the logits. `image` stays uint8, `logits` and `maps` stay
float32.

Batch normalisation becomes a factor and an offset for each channel first (see `affine`), which are float16 as
well: their product is rounded as finely as what they are multiplied with already is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cxrserve.bundle.contract import Contract, Gate, Member, Variant, load_bundle, write_contract
from cxrserve.engines.onnxruntime import OnnxRuntimeEngine
from training.networks.affine import fold_normalisations
from training.networks.onnx_graph import GraphNetwork
from training.precision.gate import Limits, answers, measure, why_refused

# Half precision may change a scale's probability by a hundredth.
LIMITS: Final = Limits(probability=0.01, maps=1.0, speed=0.0)
Images = NDArray[np.uint8]
Labels = NDArray[np.float32]


def to_half(model: bytes) -> bytes:
    """The member `model` with its body in float16.

    Raises:
        ValueError: its graph holds an operation that is not known here, or a weight beyond float16.
    """
    model = fold_normalisations(model)
    proto = onnx.load_from_string(model)
    graph = proto.graph
    body = _body(model)
    arrays = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    halved: dict[str, str] = {}  # by value or constant, its name in float16
    constants: dict[str, NDArray[np.generic]] = {}
    for node in graph.node:
        if node.output[0] not in body:
            nodes.append(node)
            continue
        for position, name in enumerate(node.input):
            if name in halved:
                node.input[position] = halved[name]
            elif name in arrays:
                if arrays[name].dtype == np.float32:
                    halved[name] = f"{name}.fp16"
                    constants[halved[name]] = _narrowed(name, arrays[name])
                    node.input[position] = halved[name]
            else:
                halved[name] = f"{name}.fp16"
                nodes.append(helper.make_node("Cast", [name], [halved[name]], to=TensorProto.FLOAT16))
                node.input[position] = halved[name]
        # The value goes on in float16 under a name of its own, and in float32 for whoever is not in the body.
        value = node.output[0]
        node.output[0] = halved[value] = f"{value}.fp16"
        nodes.append(node)
        if any(value in other.input for other in graph.node if other.output[0] not in body):
            nodes.append(helper.make_node("Cast", [halved[value]], [value], to=TensorProto.FLOAT))
    used = {name for node in nodes for name in node.input}
    initializers = [initializer for initializer in graph.initializer if initializer.name in used]
    initializers += [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


def _narrowed(name: str, array: NDArray[np.generic]) -> NDArray[np.float16]:
    largest = float(np.abs(array).max()) if array.size else 0.0
    if largest > float(np.finfo(np.float16).max):
        raise ValueError(f"{name} holds {largest:.3g}, more than float16 can: serve the member in float32")
    return array.astype(np.float16)


def _body(model: bytes) -> set[str]:
    """The values from the first convolution to the last features."""
    nodes = GraphNetwork(model).nodes
    first = next(index for index, node in enumerate(nodes) if node.op_type == "Conv")
    return {node.output[0] for node in nodes[first:]}


def add_half(folder: Path, images: dict[int, Images], data: str, labels_NF: Labels | None = None) -> Contract:
    """Give every member of the bundle in `folder` a variant in half precision, and write the contract.

    Args:
        images: by size, uint8 [N, S, S], real inputs that the gate compares both on.
        data: those images, in words.
        labels_NF: float32 [N, 14], NaN where unknown; with them the fall of the AUC is measured, too.

    Raises:
        ValueError: a member answers otherwise in half precision than `LIMITS` allow, or not at all.
    """
    bundle = load_bundle(folder)
    members = [
        _with_half(folder, member, bundle.models[member.size], images[member.size], data, labels_NF)
        for member in bundle.contract.members
    ]
    contract = bundle.contract.model_copy(update={"members": tuple(members)})
    write_contract(folder, contract)
    return contract


def _with_half(
    folder: Path, member: Member, model: bytes, images: Images, data: str, labels_NF: Labels | None
) -> Member:
    half = to_half(model)
    gate = measure_gate(model, half, member, images, data, labels_NF)
    path = folder / f"scale_{member.size}.fp16.onnx"
    path.write_bytes(half)
    variant = Variant(precision="fp16", file=path.name, sha256=hashlib.sha256(half).hexdigest(), gate=gate)
    remaining = [entry for entry in member.variants if entry.precision != "fp16"]
    ordered = sorted((*remaining, variant), key=lambda entry: entry.precision)
    return member.model_copy(update={"variants": tuple(ordered)})


def halved(
    folder: Path, member: Member, model: bytes, images: Images, data: str, labels_NF: Labels | None
) -> Member:
    """`member` with a variant in half precision in `folder`, or with the reason why it has none.

    Args: as of `add_half`, for one member.
    """
    refused = {precision: why for precision, why in member.refused.items() if precision != "fp16"}
    try:
        result = _with_half(folder, member, model, images, data, labels_NF)
    except ValueError as error:
        remaining = tuple(variant for variant in member.variants if variant.precision != "fp16")
        return member.model_copy(update={"variants": remaining, "refused": refused | {"fp16": str(error)}})
    return result.model_copy(update={"refused": refused})


def measure_gate(
    model: bytes, half: bytes, member: Member, images: Images, data: str, labels_NF: Labels | None
) -> Gate:
    """Compare `half` with `model` on `images`, on ONNX Runtime.

    Raises:
        ValueError: it answers with what is no number, or further away than `LIMITS` allow.
    """
    expected, actual = (
        answers(OnnxRuntimeEngine(network, size=member.size, precision="f32", threads=1), images)
        for network in (model, half)
    )
    if not (np.isfinite(actual.logits_NF).all() and np.isfinite(actual.maps_NFhw).all()):
        raise ValueError(
            f"the member of {member.size} overflows in half precision on {data}: serve it in float32"
        )
    gate = measure(
        expected,
        actual,
        labels_NF,
        LIMITS,
        known=member.supported,
        faster=None,
        data=data,
        engine="onnxruntime on the CPU",
    )
    why = why_refused(gate, LIMITS)
    if why is not None:
        raise ValueError(f"the member of {member.size} in half precision, on {data}: {why}")
    return gate
