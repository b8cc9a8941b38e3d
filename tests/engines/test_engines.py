"""Every engine that is listed: same answers, same refusals."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines.base import Engine
from cxrserve.engines.select import InstalledName, choose
from cxrserve.errors import BundleError, EngineError
from tests.bundles import write_tiny_bundle

SIZE = 128
# Those that run on a CPU; TensorRT's parts that do are in test_tensorrt.py.
ENGINES: tuple[InstalledName, ...] = ("openvino", "onnxruntime", "torch")
# Largest difference of a logit between engines in single precision: other orders of summation.
F32_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = write_tiny_bundle(tmp_path_factory.mktemp("engines") / "bundle", sizes=(SIZE,))
    return load_bundle(folder).models[SIZE]


def _engine(name: InstalledName, model: bytes, size: int = SIZE) -> Engine:
    return choose(name, "f32").build(model, size=size, threads=1)


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 1, SIZE, SIZE)).astype(np.uint8)


@pytest.mark.parametrize("name", ENGINES)
def test_shapes_and_types(name: InstalledName, model: bytes) -> None:
    output = _engine(name, model).run(_images(3))
    assert output.logits_NF.shape == (3, 14)
    assert output.maps_NFhw.shape == (3, 14, SIZE // 32, SIZE // 32)
    assert output.logits_NF.dtype == output.maps_NFhw.dtype == np.float32


def test_engines_agree(model: bytes) -> None:
    first, *others = (_engine(name, model).run(_images(4)) for name in ENGINES)
    for other in others:
        np.testing.assert_allclose(other.logits_NF, first.logits_NF, atol=F32_TOLERANCE)
        np.testing.assert_allclose(other.maps_NFhw, first.maps_NFhw, atol=F32_TOLERANCE)


@pytest.mark.parametrize("name", ENGINES)
def test_an_image_does_not_care_for_its_neighbours(name: InstalledName, model: bytes) -> None:
    engine, images = _engine(name, model), _images(3)
    together = engine.run(images)
    for index in range(3):
        alone = engine.run(images[index : index + 1])
        np.testing.assert_array_equal(alone.logits_NF[0], together.logits_NF[index])


@pytest.mark.parametrize("name", ENGINES)
def test_an_answer_is_not_overwritten_by_the_next(name: InstalledName, model: bytes) -> None:
    engine, images = _engine(name, model), _images(2)
    first = engine.run(images[:1])
    kept = first.logits_NF.copy(), first.maps_NFhw.copy()
    engine.run(images[1:])
    np.testing.assert_array_equal(first.logits_NF, kept[0])
    np.testing.assert_array_equal(first.maps_NFhw, kept[1])


@pytest.mark.parametrize("name", ENGINES)
def test_a_graph_of_another_size_is_refused_showing_both_sides(name: InstalledName, model: bytes) -> None:
    with pytest.raises(BundleError, match=r"size 256 has the inputs .*128.*needs .*256"):
        _engine(name, model, size=256)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("content", [b"", b"not a graph", pickle.dumps({"weights": [1, 2, 3]})])
def test_what_is_not_onnx_is_refused(name: InstalledName, content: bytes) -> None:
    with pytest.raises(BundleError):
        _engine(name, content)


@pytest.mark.parametrize("name", ENGINES)
def test_weights_outside_the_file_are_refused(
    name: InstalledName, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file that they name is there: OpenVINO looks for it in the working directory."""
    monkeypatch.chdir(tmp_path)
    graph = onnx.load_from_string(model)
    onnx.save_model(
        graph, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert (tmp_path / "w.bin").stat().st_size > 0
    with pytest.raises(BundleError, match="another file"):
        _engine(name, (tmp_path / "m.onnx").read_bytes())


def test_the_precision_that_serves_says_what_f32_says(model: bytes) -> None:
    """bf16 where the CPU computes in it: it keeps 8 bits, so sums are right to about 1 % of their parts."""
    served = choose("openvino", "auto").build(model, size=SIZE, threads=1).run(_images(4))
    exact = _engine("onnxruntime", model).run(_images(4))
    tolerance = 0.02 * np.abs(exact.maps_NFhw).max()
    np.testing.assert_allclose(served.logits_NF, exact.logits_NF, atol=tolerance)
    np.testing.assert_allclose(served.maps_NFhw, exact.maps_NFhw, atol=tolerance)


def test_bf16_is_refused_where_it_cannot_be_had() -> None:
    with pytest.raises(EngineError, match="use engine openvino"):
        choose("onnxruntime", "bf16")


def test_auto_says_why() -> None:
    choice = choose("auto", "auto")
    assert choice.name == "openvino"
    assert "fastest" in choice.reason
