"""A member in half precision: types in the graph, outputs as ever, and a gate that shuts."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from cxrserve.bundle.contract import Member, load_bundle, load_variant, write_contract
from cxrserve.errors import BundleError
from tests.bundles import write_tiny_bundle
from training.precision.fp16 import add_half, measure_gate, to_half
from training.precision.gate import Limits
from training.precision.quantize.quantize import quantize_bundle

DEMO = Path(__file__).parents[2] / "models" / "demo"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bundle with half precision beside it, gated on noise with labels."""
    folder = tmp_path_factory.mktemp("half") / "demo"
    shutil.copytree(DEMO, folder)
    random = np.random.default_rng(0)
    images = {size: random.integers(0, 256, (3, size, size), np.uint8) for size in (256, 512, 1024, 2048)}
    add_half(folder, images, "noise", np.tile(np.array([[0], [1], [1]], np.float32), 14))
    return folder


def test_every_member_has_a_gated_half(bundle: Path) -> None:
    contract = load_bundle(bundle).contract
    for member in contract.members:
        (variant,) = member.variants
        assert variant.precision == "fp16"
        assert variant.gate.probability <= variant.gate.tolerance
        assert variant.gate.images == 3
        assert variant.gate.auc is not None
        full = (bundle / member.file).stat().st_size
        assert len(load_variant(bundle, variant)) < 0.62 * full


def test_a_changed_variant_is_refused(bundle: Path, tmp_path: Path) -> None:
    variant = load_bundle(bundle).contract.members[0].variants[0]
    (tmp_path / variant.file).write_bytes((bundle / variant.file).read_bytes() + b"\0")
    with pytest.raises(BundleError, match="SHA-256"):
        load_variant(tmp_path, variant)


def test_types_are_written_into_the_graph() -> None:
    model = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(to_half((DEMO / "scale_256.onnx").read_bytes())), strict_mode=True
    )
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    weights = {each.name: numpy_helper.to_array(each).dtype for each in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for node in convolutions[:-1]:
        assert weights[node.input[1]] == np.float16
        assert types[node.output[0]] == TensorProto.FLOAT16
    # What becomes maps and logits is added up in single precision.
    assert weights[convolutions[-1].input[1]] == np.float32
    outputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    assert outputs == {"logits": TensorProto.FLOAT, "maps": TensorProto.FLOAT}
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def louder(model: bytes, factor: float) -> bytes:
    """`model` with its first convolution stronger: fine in single precision."""
    proto = onnx.load_from_string(model)
    first = next(node for node in proto.graph.node if node.op_type == "Conv")
    for each in proto.graph.initializer:
        if each.name in first.input[1:]:
            stronger = numpy_helper.to_array(each) * np.float32(factor)
            each.CopyFrom(numpy_helper.from_array(stronger, each.name))
    return bytes(proto.SerializeToString())


def test_a_network_that_overflows_gets_no_half(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder)
    bundle = load_bundle(folder)
    member = bundle.contract.members[0]
    with pytest.raises(ValueError, match="more than float16 can"):
        to_half(louder(bundle.models[member.size], 1e7))
    loud = louder(bundle.models[member.size], 2e4)
    images = np.random.default_rng(0).integers(0, 256, (1, 256, 256), np.uint8)
    with pytest.raises(ValueError, match="overflows in half precision"):
        measure_gate(loud, to_half(loud), member, images, "noise", None)


def test_any_bundle_gets_halves_or_says_why_not(tmp_path: Path) -> None:
    """By `models quantize --precision fp16`: trained here or imported, with or without a CPU for int8."""
    folder = write_tiny_bundle(tmp_path / "tiny", sizes=(64, 128))

    def quantize() -> tuple[Member, ...]:
        quantize_bundle(
            folder, paths=(), phantoms=3, seed=0, labelled=None, precision="fp16", limits=Limits()
        )
        return load_bundle(folder).contract.members

    assert [variant.precision for member in quantize() for variant in member.variants] == ["fp16"] * 2
    assert set(load_bundle(folder, ("fp16",)).variants) == {64, 128}

    contract = load_bundle(folder).contract
    (folder / contract.members[0].file).write_bytes(louder(load_bundle(folder).models[64], 1e7))
    sha256 = hashlib.sha256((folder / contract.members[0].file).read_bytes()).hexdigest()
    loud = contract.members[0].model_copy(update={"sha256": sha256})
    write_contract(folder, contract.model_copy(update={"members": (loud, *contract.members[1:])}))
    first, second = quantize()
    assert first.variants == ()
    assert "more than float16 can" in first.refused["fp16"]
    assert [variant.precision for variant in second.variants] == ["fp16"]
    assert not (folder / "scale_64.fp16.onnx").exists()
