"""TensorRT's engine on a GPU made of host memory (`host_gpu`): the order of what is asked, not the GPU."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from cxrserve.bundle.contract import Gate, Variant, load_bundle, write_contract
from cxrserve.cli.main import app
from cxrserve.engines import engine_cache
from cxrserve.engines.build import build_bundle, build_member
from cxrserve.engines.gate import films
from cxrserve.engines.select import choose
from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import BundleError, EngineError, EngineLost
from cxrserve.settings import Precision
from tests.bundles import write_tiny_bundle
from tests.engines.host_cuda import HostCuda
from tests.engines.host_gpu import host_gpus

# Their largest bucket is 64 images.
SIZES = (64, 256)


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostCuda]:
    """One GPU, and a cache of engines of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with host_gpus() as host:
        yield host


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle", sizes=SIZES)


def _build(bundle: Path, precision: Precision = "auto") -> list[str]:
    said: list[str] = []
    steps: list[str] = []
    build_bundle(
        bundle, precision=precision, say=said.append, progress=lambda phase, step, steps_: steps.append(phase)
    )
    return said


def test_a_built_engine_answers_for_every_image_and_gives_everything_back(
    gpu: HostCuda, bundle: Path
) -> None:
    said = _build(bundle)
    assert len(said) == len(SIZES)
    assert "built before" not in "".join(said)
    assert not gpu.memory
    assert not gpu.recordings
    assert not gpu.streams
    assert all("built before" in line for line in _build(bundle))

    model = load_bundle(bundle).models[256]
    engine = choose("tensorrt", "auto").build(model, size=256, threads=1)
    assert engine.max_images == 64
    reference = choose("onnxruntime", "f32").build(model, size=256, threads=1)
    images = films(256, 131)  # two full buckets, and a rest of three in a bucket of four
    found, expected = engine.run(images), reference.run(images)
    np.testing.assert_allclose(found.logits_NF, expected.logits_NF, atol=1e-5)
    np.testing.assert_allclose(found.maps_NFhw, expected.maps_NFhw, atol=1e-5)
    first = found.logits_NF.copy()
    engine.run(images[::-1])
    np.testing.assert_array_equal(found.logits_NF, first)


def test_one_owner_each_for_two_gpus(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with host_gpus(2):
        _build(bundle)
        predictor = Predictor(load_bundle(bundle), choose("tensorrt", "auto"), threads=1, streams=3)
        assert len(predictor.replicas) == 2


def test_a_bundle_with_variants_can_be_built_and_served_in_f32(gpu: HostCuda, bundle: Path) -> None:
    contract = load_bundle(bundle).contract
    gate = Gate(
        logits=0.0,
        maps=0.0,
        probability=0.0,
        auc=None,
        tolerance=0.01,
        data="none",
        images=1,
        engine="none: it is the member itself",
    )
    members = []
    for member in contract.members:
        file = f"scale_{member.size}.fp16.onnx"
        content = (bundle / member.file).read_bytes()
        (bundle / file).write_bytes(content)
        variant = Variant(precision="fp16", file=file, sha256=hashlib.sha256(content).hexdigest(), gate=gate)
        members.append(member.model_copy(update={"variants": (variant,)}))
    write_contract(bundle, contract.model_copy(update={"members": tuple(members)}))

    assert all(" in fp16: " in line for line in _build(bundle))
    with pytest.raises(EngineError, match="models build BUNDLE --precision f32"):
        Predictor(load_bundle(bundle), choose("tensorrt", "f32"), threads=1)
    result = CliRunner().invoke(app, ["models", "build", str(bundle), "--precision", "f32"])
    assert result.exit_code == 0, result.output
    choice = choose("tensorrt", "f32")
    assert set(Predictor(choice.load(bundle), choice, threads=1).precisions.values()) == {"f32"}


def _with_batch(bundle: Path, images: int) -> bytes:
    graph = onnx.load_from_string(load_bundle(bundle).models[64])
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = images
    return bytes(graph.SerializeToString())


def _build_one(model: bytes) -> Path:
    return build_member(
        model, model, size=64, precision="f32", device=0, progress=lambda phase, step, steps: None
    )[0]


def test_a_member_for_one_image_at_a_time_has_one_bucket(gpu: HostCuda, bundle: Path) -> None:
    model = _with_batch(bundle, 1)
    _build_one(model)
    engine = choose("tensorrt", "auto").build(model, size=64, threads=1)
    assert engine.max_images == 1
    assert engine.run(films(64, 3)).logits_NF.shape == (3, 14)


def test_a_member_for_some_other_number_is_refused(gpu: HostCuda, bundle: Path) -> None:
    with pytest.raises(BundleError, match="takes 4 images at a time"):
        _build_one(_with_batch(bundle, 4))


def test_what_is_no_graph_is_refused(gpu: HostCuda) -> None:
    with pytest.raises(BundleError, match="not an ONNX graph that TensorRT reads: no graph"):
        _build_one(b"nothing of the kind")


def test_an_engine_that_answers_otherwise_is_not_kept(
    gpu: HostCuda, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrserve.engines import tensorrt

    run = tensorrt.Runner.run

    def wrong(self: object, image_N1SS: NDArray[np.uint8]) -> object:
        output = run(self, image_N1SS)  # type: ignore[arg-type]
        output.maps_NFhw[-1] += 1000
        return output

    monkeypatch.setattr(tensorrt.Runner, "run", wrong)
    with pytest.raises(EngineError, match="differs from single precision"):
        _build_one(load_bundle(bundle).models[64])
    assert not list(engine_cache.cache_folder().glob("*"))
    assert not gpu.memory


def test_a_gpu_that_fails_for_good_says_so(gpu: HostCuda, bundle: Path) -> None:
    model = load_bundle(bundle).models[64]
    _build_one(model)
    engine = choose("tensorrt", "auto").build(model, size=64, threads=1)
    held = dict(gpu.memory)
    gpu.memory.clear()  # whatever the next run touches on the GPU is illegal
    assert held
    with pytest.raises(EngineLost, match="CUDA error 700"):
        engine.run(films(64, 1))


def test_a_driver_that_is_too_old_is_said(
    gpu: HostCuda, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorrt: Any = sys.modules["tensorrt"]

    def refuses(log: Any) -> None:
        log.log(tensorrt.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(tensorrt, "Builder", refuses)
    with pytest.raises(EngineError, match=r"does not start on this GPU, driver .*error: 35"):
        _build_one(load_bundle(bundle).models[64])
