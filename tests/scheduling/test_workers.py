"""Tests of the worker threads of an engine: one for each stream on a CPU, one for each GPU."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.bundle.contract import VariantPrecision, load_bundle
from cxrserve.engines.base import ActualPrecision, Engine, Output
from cxrserve.engines.select import Choice, choose
from cxrserve.ensemble.predictor import Predictor
from tests.scheduling.watched_engines import SIZES, batcher_of, engines_of, picture

IMAGES = 24


class OneBuffer:
    """A real engine that computes as one on a GPU does: from a buffer that holds one batch."""

    def __init__(self, engine: Engine, size: int) -> None:
        self._engine, self._buffer = engine, np.zeros((64, 1, size, size), np.uint8)
        self.name, self.precision, self.max_images = engine.name, engine.precision, 4

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """The images go into the buffer, and the engine reads it a moment later."""
        self._buffer[: len(image_N1SS)] = image_N1SS
        time.sleep(0.001)
        return self._engine.run(self._buffer[: len(image_N1SS)])

    def replica(self) -> None:
        """None: the buffer holds one batch."""


class TwoGpus(Choice):
    """ONNX Runtime, as if on two GPUs."""

    def build(
        self,
        model: bytes,
        *,
        size: int,
        threads: int,
        streams: int = 1,
        precision: ActualPrecision | None = None,
        variant: VariantPrecision | None = None,
        device: int = 0,
    ) -> Engine:
        """An engine that has one replica."""
        return OneBuffer(choose("onnxruntime", "f32").build(model, size=size, threads=threads), size)


def _predictor(tiny_bundle: Path, streams: int) -> Predictor:
    usual = choose("onnxruntime", "f32")
    choice = TwoGpus(
        name=usual.name, version=usual.version, precision="f32", reason="for this test", devices=2
    )
    return Predictor(load_bundle(tiny_bundle), choice, threads=1, streams=streams)


def test_a_gpu_has_one_owner_however_many_streams_there_are(tiny_bundle: Path) -> None:
    assert len(_predictor(tiny_bundle, streams=1).replicas) == 2
    replicas = _predictor(tiny_bundle, streams=4).replicas
    assert len(replicas) == 2
    engines = [engine for replica in replicas for engine in replica.values()]
    assert len({id(engine) for engine in engines}) == len(engines)


def test_no_image_is_told_what_is_said_of_another(tiny_bundle: Path) -> None:
    """Two owners of one buffer would answer for each other's images."""
    alone = engines_of(tiny_bundle)
    replicas = [
        {size: replica[size] for size in SIZES} for replica in _predictor(tiny_bundle, streams=4).replicas
    ]
    batcher = batcher_of(*replicas)
    try:
        with ExitStack() as inside, ThreadPoolExecutor(8) as threads:
            requests = [inside.enter_context(batcher.admit()) for _ in range(IMAGES)]

            def ask(number: int) -> dict[int, Output]:
                futures = {
                    size: batcher.submit(requests[number], size, picture(number, size)) for size in SIZES
                }
                return {size: requests[number].result(future) for size, future in futures.items()}

            answers = list(threads.map(ask, range(IMAGES)))
    finally:
        batcher.close()
    for number, outputs in enumerate(answers):
        for size, output in outputs.items():
            expected = alone[size].run(picture(number, size)[None, None])
            np.testing.assert_allclose(output.logits_NF, expected.logits_NF, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_cpu_has_an_owner_for_each_stream(tiny_bundle: Path, name: str) -> None:
    choice = choose("openvino" if name == "openvino" else "onnxruntime", "f32")
    assert len(Predictor(load_bundle(tiny_bundle), choice, threads=2, streams=2).replicas) == 2
