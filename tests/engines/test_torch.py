"""The torch engine against ONNX Runtime on whole members, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines import cuda
from cxrserve.engines import torch as engine
from cxrserve.engines.gate import films
from cxrserve.engines.onnxruntime import OnnxRuntimeEngine
from cxrserve.engines.select import choose
from cxrserve.engines.torch import TorchEngine
from cxrserve.engines.torch_graph import TorchGraph
from cxrserve.errors import BundleError, EngineError, EngineLost
from tests.bundles import write_tiny_bundle
from training.precision.fp16 import to_half

DEMO = Path(__file__).parents[2] / "models" / "demo"
SIZE = 128
# Of the outputs' spread.
SAME_SUMS = 1e-5
HALF = 0.02

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch computes on")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = write_tiny_bundle(tmp_path_factory.mktemp("torch") / "bundle", sizes=(SIZE,))
    return load_bundle(folder).models[SIZE]


def _reference(model: bytes, size: int = SIZE) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(model, size=size, precision="f32", threads=1, cpu=True)


@pytest.mark.parametrize("size", [256, 512, 1024, 2048])
def test_a_member_answers_as_with_onnx_runtime(size: int) -> None:
    model = (DEMO / f"scale_{size}.onnx").read_bytes()
    images = films(size, 2)
    found = TorchEngine(model, size=size, precision="f32", threads=1).run(images)
    expected = _reference(model, size).run(images)
    for ours, theirs in ((found.logits_NF, expected.logits_NF), (found.maps_NFhw, expected.maps_NFhw)):
        assert np.abs(ours - theirs).max() <= SAME_SUMS * theirs.std()


def test_half_precision_is_that_of_the_graph(model: bytes) -> None:
    half = to_half(model)
    with torch.inference_mode():
        logits, maps = TorchGraph(half, size=SIZE, device="cpu").run(torch.from_numpy(films(SIZE, 2)))
    expected = _reference(model).run(films(SIZE, 2))
    assert logits.dtype == maps.dtype == torch.float32
    differences = np.abs(maps.numpy() - expected.maps_NFhw)
    assert 0 < differences.max() <= HALF * expected.maps_NFhw.std()


def test_only_what_is_still_needed_is_held(model: bytes) -> None:
    graph = TorchGraph(model, size=SIZE, device="cpu")
    released = {name for step in graph._steps for name in step.done_with}
    made = {name for step in graph._steps for name in step.outputs}
    assert released == (made | {"image"}) - {"logits", "maps"}


def test_the_batch_and_the_threads_are_left_as_they_were(model: bytes) -> None:
    before = torch.get_num_threads()
    images = films(SIZE, 2)
    images.flags.writeable = False
    TorchEngine(model, size=SIZE, precision="f32", threads=before + 1).run(images)
    assert torch.get_num_threads() == before


def _changed(model: bytes, change: Callable[[onnx.ModelProto], object]) -> bytes:
    proto = onnx.load_from_string(model)
    change(proto)
    return bytes(proto.SerializeToString())


def _with_tanh(proto: onnx.ModelProto) -> None:
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Tanh"


def _with_ceil(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        if node.op_type == "Conv":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("auto_pad", "SAME_LOWER"))


def _of_opset_11(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 11


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_with_tanh, "does not know: Tanh with 1 outputs"),
        (_with_ceil, "auto_pad SAME_LOWER"),
        (_of_opset_11, "opset 11"),
    ],
)
def test_a_graph_that_it_cannot_run_is_refused_by_name(
    model: bytes, change: Callable[[onnx.ModelProto], object], why: str
) -> None:
    with pytest.raises(BundleError, match=why):
        TorchEngine(_changed(model, change), size=SIZE, precision="f32", threads=1).run(films(SIZE, 1))


def test_by_name_alone_without_a_gpu() -> None:
    assert choose("auto", "auto").name != "torch" or cuda.device_count()
    assert choose("torch", "f32").reason.startswith("asked for by name")
    with pytest.raises(EngineError, match="served by OpenVINO"):
        choose("torch", "int8")
    with pytest.raises(EngineError, match="fp16 or f32"):
        choose("torch", "bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_half_precision_needs_a_gpu() -> None:
    with pytest.raises(EngineError, match="needs a GPU"):
        choose("torch", "fp16")
    assert (engine.devices(), engine.choose_variants("auto")) == (1, ())


def test_a_gpu_without_cuda_in_torch_is_left_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose("auto", "f32").name == "openvino"


def test_a_gpu_with_torch_alone_is_served_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    choice = choose("auto", "auto")
    assert (choice.name, choice.devices, choice.variants) == ("torch", 2, ("fp16",))


def test_errors_of_the_gpu_are_told_as_by_the_other_engines() -> None:
    with pytest.raises(EngineError, match="smaller CXRSERVE_BATCH_PIXELS"), engine._errors_of_cuda():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors")
    lost.error_code = 700  # type: ignore[attr-defined]
    told = pytest.raises(EngineLost, match=r"illegal memory access was encountered \(CUDA error 700\)")
    with told, engine._errors_of_cuda():
        raise lost


@needs_gpu
@pytest.mark.parametrize("variant", ["fp16", None])
def test_recordings_answer_as_onnx_runtime_on_the_cpu(model: bytes, variant: str | None) -> None:
    taken = to_half(model) if variant else model
    ours = choose("torch", "auto").build(taken, size=SIZE, threads=1, variant=variant)  # type: ignore[arg-type]
    images = films(SIZE, ours.max_images + 3)
    found, expected = ours.run(images), _reference(model).run(images)
    limit = HALF if variant else 1e-4
    assert np.abs(found.logits_NF - expected.logits_NF).max() <= limit * expected.logits_NF.std()
    assert np.abs(found.maps_NFhw - expected.maps_NFhw).max() <= limit * expected.maps_NFhw.std()
    assert ours.replica() is None
