"""Tensors that lie outside an ONNX file are refused wherever a graph can hold them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cxrserve.bundle.contract import load_bundle, read_contract
from cxrserve.bundle.self_contained import check_self_contained
from cxrserve.errors import BundleError
from tests.bundles import write_tiny_bundle

_DEMO = sorted(Path("models/demo").glob("*.onnx"))


def _tensor(*, external: bool) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros((4, 4), np.float32), "w")
    if external:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "64")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    return tensor


def _graph(*, external: bool, nodes: list[onnx.NodeProto] | None = None) -> onnx.GraphProto:
    return helper.make_graph(nodes or [], "g", [], [], initializer=[_tensor(external=external)])


def _as_initializer(external: bool) -> onnx.ModelProto:
    return helper.make_model(_graph(external=external))


def _as_constant(external: bool) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["c"], value=_tensor(external=external))
    return helper.make_model(_graph(external=False, nodes=[node]))


def _in_subgraph(external: bool) -> onnx.ModelProto:
    inner = helper.make_node("Constant", [], ["c"], value=_tensor(external=external))
    branch = helper.make_graph([inner], "then", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=_graph(external=False))
    return helper.make_model(_graph(external=False, nodes=[node]))


def _in_function(external: bool) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["c"], value=_tensor(external=external))
    function = helper.make_function("d", "f", [], ["c"], [node], [helper.make_opsetid("", 17)])
    return helper.make_model(_graph(external=False), functions=[function])


def _in_sparse_initializer(external: bool) -> onnx.ModelProto:
    model = helper.make_model(_graph(external=False))
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(_tensor(external=external))
    sparse.indices.CopyFrom(_tensor(external=False))
    return model


def _in_training_info(external: bool) -> onnx.ModelProto:
    model = helper.make_model(_graph(external=False))
    model.training_info.add().algorithm.CopyFrom(_graph(external=external))
    return model


_PLACES = [
    _as_initializer, _as_constant, _in_subgraph, _in_function, _in_sparse_initializer, _in_training_info
]  # fmt: skip


@pytest.mark.parametrize("place", _PLACES)
def test_external_data_is_refused_everywhere(place: Callable[[bool], onnx.ModelProto]) -> None:
    check_self_contained(place(False).SerializeToString(), "m.onnx")
    with pytest.raises(BundleError, match=r"m\.onnx has a tensor whose values lie in another file"):
        check_self_contained(place(True).SerializeToString(), "m.onnx")


def test_a_location_alone_is_refused() -> None:
    """OpenVINO and ONNX Runtime need not agree which of the two fields counts, so either is too much."""
    tensor = _tensor(external=True)
    tensor.data_location = TensorProto.DEFAULT
    graph = helper.make_graph([], "g", [], [], initializer=[tensor])
    with pytest.raises(BundleError, match="another file"):
        check_self_contained(helper.make_model(graph).SerializeToString(), "m.onnx")


@pytest.mark.parametrize("path", _DEMO, ids=lambda path: path.name)
def test_the_demo_holds_its_own_data(path: Path) -> None:
    check_self_contained(path.read_bytes(), path.name)


@given(st.binary(max_size=400))
def test_any_bytes_are_answered(content: bytes) -> None:
    """Bytes that are no ONNX file are refused as such; none raises anything else, or runs for long."""
    with contextlib.suppress(BundleError):
        check_self_contained(content, "m.onnx")


def test_deep_nesting_is_refused() -> None:
    """A graph within an attribute within a node within a graph …, which no recursion has to follow."""
    content = b""
    for number in (6, 5, 1) * 40:  # from the innermost out
        content = bytes([number << 3 | 2]) + _length(content) + content
    with pytest.raises(BundleError, match="nested"):
        check_self_contained(bytes([7 << 3 | 2]) + _length(content) + content, "m.onnx")


def _length(content: bytes) -> bytes:
    value, encoded = len(content), b""
    while value >= 0x80:
        encoded, value = encoded + bytes([value & 0x7F | 0x80]), value >> 7
    return encoded + bytes([value])


def test_a_bundle_whose_member_names_another_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash of the ONNX file is right, and the file that it names is there: it is refused all the same."""
    bundle = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    member = read_contract(bundle)[0].members[0]
    monkeypatch.chdir(bundle)
    graph = onnx.load(bundle / member.file)
    onnx.save_model(
        graph, bundle / member.file, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    contract = json.loads((bundle / "bundle.json").read_text())
    contract["members"][0]["sha256"] = hashlib.sha256((bundle / member.file).read_bytes()).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(contract))
    with pytest.raises(BundleError, match="another file"):
        load_bundle(bundle)
