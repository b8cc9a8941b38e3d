"""Tests of a device that fails permanently: all waiting tasks fail, and no image is admitted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.engines import cuda
from cxrserve.engines.base import ActualPrecision, Engine, Output
from cxrserve.errors import EngineError, EngineLost
from cxrserve.metrics import Metrics
from tests.scheduling.watched_engines import SIZES, admission_of, batcher_of, engines_of, picture, sample

# What the CUDA runtime answers to every call, once a kernel has read where it may not.
ILLEGAL_ADDRESS = 700


class Failing:
    """A real engine that a sticky CUDA error ends at its second run."""

    name = "failing"
    precision: ActualPrecision = "f32"
    max_images = 4

    def __init__(self, engine: Engine, runs: list[int]) -> None:
        self._engine, self._runs = engine, runs

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Once as ever."""
        self._runs.append(len(image_N1SS))
        if len(self._runs) > 1:
            cuda.check("cudaGraphLaunch", ILLEGAL_ADDRESS, lambda _: "an illegal memory access")
        return self._engine.run(image_N1SS)

    def replica(self) -> None:
        """None: it has one owner."""


@pytest.fixture(scope="module")
def engines(tiny_bundle: Path) -> Mapping[int, Engine]:
    return engines_of(tiny_bundle)


def test_only_errors_that_stay_are_for_good() -> None:
    for code in (2, 600, 701, 801):
        with pytest.raises(EngineError):
            cuda.check("cudaMalloc", code, lambda _: "no")
    for code in (214, 700, 719):
        with pytest.raises(EngineLost, match=f"CUDA error {code}"):
            cuda.check("cudaMalloc", code, lambda _: "no")


def test_whoever_waits_for_a_lost_device_is_told_at_once(engines: Mapping[int, Engine]) -> None:
    runs: list[int] = []
    metrics = Metrics()
    admission = admission_of()
    failing = {size: Failing(engine, runs) for size, engine in engines.items()}
    batcher = batcher_of(failing, metrics=metrics, admission=admission)
    try:
        with ExitStack() as inside:
            requests = [inside.enter_context(batcher.admit()) for _ in range(6)]
            asked = [
                batcher.submit(request, size, picture(1, size)) for request in requests for size in SIZES
            ]
            failures = [future.exception(30) for future in asked]
            assert sum(isinstance(failure, EngineLost) for failure in failures) >= len(asked) - 4
            assert len(runs) == 2  # nobody asks a second time, image by image
            with pytest.raises(EngineLost, match="illegal memory access"), batcher.admit():
                pass
            late = batcher.submit(requests[0], SIZES[0], picture(1, SIZES[0]))
            assert isinstance(late.exception(1), EngineLost)
        assert admission.failure is not None
        dropped = [
            sample(metrics, "cxrserve_queue_dropped_total", size=str(size), reason="failed") for size in SIZES
        ]
        assert sum(dropped) > 0
    finally:
        batcher.close()
