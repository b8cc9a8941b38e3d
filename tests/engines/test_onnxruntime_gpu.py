"""Tests of ONNX Runtime's engine on a GPU, with its CPU provider in the place of CUDA's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines import cuda, onnxruntime
from cxrserve.engines.gate import films
from cxrserve.engines.select import choose
from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import EngineError, EngineLost
from tests.bundles import write_tiny_bundle

SIZE = 128


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle", sizes=(SIZE,))


@pytest.fixture
def model(bundle: Path) -> bytes:
    return load_bundle(bundle).models[SIZE]


@pytest.fixture
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    monkeypatch.setattr(onnxruntime, "_CUDA", "CPUExecutionProvider")
    # Largest batch 4, so that the gate is quick.
    monkeypatch.setattr(onnxruntime, "_GPU_PIXELS", 4 * SIZE**2)


@pytest.mark.usefixtures("_gpu")
def test_each_gpu_has_one_owner_and_the_same_answers(bundle: Path, model: bytes) -> None:
    predictor = Predictor(load_bundle(bundle), choose("onnxruntime", "f32"), threads=1, streams=3)
    assert len(predictor.replicas) == 2
    engine = predictor.replicas[1][SIZE]
    assert engine.max_images == 4
    reference = onnxruntime.OnnxRuntimeEngine(model, size=SIZE, precision="f32", threads=1, cpu=True)
    images = films(SIZE, 6)
    np.testing.assert_allclose(engine.run(images).logits_NF, reference.run(images).logits_NF, atol=1e-5)


@pytest.mark.usefixtures("_gpu")
def test_the_gate_is_asked_at_every_start(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = onnxruntime.OnnxRuntimeEngine._answer

    def wrong(self: onnxruntime.OnnxRuntimeEngine, images: np.ndarray) -> list[np.ndarray]:
        logits, maps = answer(self, images)
        return [logits, maps * (1.5 if self._gpu and len(images) == 4 else 1)]

    monkeypatch.setattr(onnxruntime.OnnxRuntimeEngine, "_answer", wrong)
    with pytest.raises(EngineError, match="deviations in a map, in a batch of 4"):
        choose("onnxruntime", "f32").build(model, size=SIZE, threads=1)


class Opened:
    """Sessions that were opened, with what each was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: list[dict[str, str]] = []
        real = ort.InferenceSession

        def open_(model: bytes, options: object, providers: list[Any]) -> object:
            self.options += [provider[1] for provider in providers if isinstance(provider, tuple)]
            return real(model, options, providers=providers)

        monkeypatch.setattr(ort, "InferenceSession", open_)


@pytest.mark.usefixtures("_gpu")
def test_half_precision_alone_has_its_channels_last(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(monkeypatch)
    choice = choose("onnxruntime", "auto")
    for variant, channels_last in (("fp16", "1"), (None, None)):
        opened.options.clear()
        choice.build(model, size=SIZE, threads=1, variant=variant)  # type: ignore[arg-type]
        assert [told.get("prefer_nhwc") for told in opened.options] == [channels_last]
        assert all(told["use_tf32"] == "0" for told in opened.options)


@pytest.mark.usefixtures("_gpu")
def test_channels_last_that_fail_the_gate_are_given_up(
    model: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Opened(monkeypatch)
    answer = onnxruntime.OnnxRuntimeEngine._answer

    def wrong(self: onnxruntime.OnnxRuntimeEngine, images: np.ndarray) -> list[np.ndarray]:
        logits, maps = answer(self, images)
        return [logits, maps * (1.5 if self._gpu and "prefer_nhwc" in opened.options[-1] else 1)]

    monkeypatch.setattr(onnxruntime.OnnxRuntimeEngine, "_answer", wrong)
    choose("onnxruntime", "auto").build(model, size=SIZE, threads=1, variant="fp16")
    assert [told.get("prefer_nhwc") for told in opened.options] == ["1", None]
    assert "prefer_nhwc) is not used at size 128" in caplog.text


@pytest.mark.usefixtures("_gpu")
def test_a_failure_that_stays_is_for_good(model: bytes) -> None:
    engine = choose("onnxruntime", "f32").build(model, size=SIZE, threads=1)

    class Session:
        def run(self, names: object, inputs: object) -> None:
            raise RuntimeError(
                "Non-zero status code returned while running Conv node. CUDA failure 700: an illegal memory "
                "access was encountered ; GPU=0 ; hostname=node7 ; expr=cudaStreamSynchronize(stream)"
            )

    engine._session = Session()  # type: ignore[attr-defined]
    with pytest.raises(
        EngineLost, match=r"an illegal memory access was encountered \(CUDA error 700\)"
    ) as told:
        engine.run(films(SIZE, 1))
    assert "node7" not in told.value.detail


def test_a_provider_that_does_not_start_is_said(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would go on with the CPU."""
    monkeypatch.setattr(onnxruntime, "on_gpu", lambda: True)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(EngineError, match="could not start on this GPU"),
    ):
        onnxruntime.OnnxRuntimeEngine(model, size=SIZE, precision="f32", threads=1)
