"""Real engines on the tiny bundle that can be watched and held, for tests of what stands in front of them."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines.base import ActualPrecision, Engine, Output
from cxrserve.engines.select import InstalledName, choose
from cxrserve.metrics import Metrics
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.scheduling.admission import AdmissionController
from cxrserve.scheduling.batcher import Batcher

SIZES = (64, 128)


class Gate:
    """Held, engines wait before each run until it is released.

    Attributes:
        reached: set once an engine waits.
        runs: (size, images) of each run, in order.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        self.runs: list[tuple[int, list[int]]] = []
        if not held:
            self.open.set()


class WatchedEngine:
    """An engine behind a gate. An image's first pixel is its number; one of those in `fails` raises."""

    name = "watched"
    precision: ActualPrecision = "f32"

    def __init__(self, engine: Engine, size: int, gate: Gate, max_images: int, fails: frozenset[int]) -> None:
        self._engine, self._size, self._gate, self._fails = engine, size, gate, fails
        self.max_images = max_images

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Wait for the gate, note the run, and run."""
        numbers = [int(image[0, 0, 0]) for image in image_N1SS]
        self._gate.reached.set()
        self._gate.open.wait(30)
        self._gate.runs.append((self._size, numbers))
        if self._fails.intersection(numbers):
            raise MemoryError("out of device memory")
        return self._engine.run(image_N1SS)

    def replica(self) -> None:
        """None: it has one owner."""


def engines_of(bundle: Path, name: InstalledName = "onnxruntime") -> dict[int, Engine]:
    """The engines of `SIZES` in the bundle."""
    models, choice = load_bundle(bundle).models, choose(name, "f32")
    return {size: choice.build(models[size], size=size, threads=1) for size in SIZES}


def watched(
    engines: Mapping[int, Engine], gate: Gate, *, max_images: int = 4, fails: frozenset[int] = frozenset()
) -> dict[int, Engine]:
    """`engines` behind `gate`."""
    return {size: WatchedEngine(engine, size, gate, max_images, fails) for size, engine in engines.items()}


def batcher_of(
    *devices: Mapping[int, Engine],
    metrics: Metrics | None = None,
    admission: AdmissionController | None = None,
    **overrides: object,
) -> Batcher:
    """A Batcher on `devices`: no delay and no limit that is reached, unless overridden."""
    usual: dict[str, object] = {
        "batch_pixels": 2**20,
        "max_delay_s": 1e-6,
        "expected_s": dict.fromkeys(devices[0], 0.01),
        "decoders": 1,
    }
    return Batcher(
        devices,
        metrics or Metrics(),
        admission or admission_of(),
        **{**usual, **overrides},  # type: ignore[arg-type]
    )


def admission_of(*, max_requests: int = 1000, stat_lead_s: float = 30.0) -> AdmissionController:
    """An AdmissionController that refuses nothing, unless told otherwise."""
    return AdmissionController(max_requests=max_requests, stat_lead_s=stat_lead_s)


def picture(number: int, size: int) -> NDArray[np.uint8]:
    """A picture whose first pixel is its number."""
    pixels_SS = np.random.default_rng(number).integers(0, 256, (size, size)).astype(np.uint8)
    pixels_SS[0, 0] = number
    return pixels_SS


@contextmanager
def at_the_gate(pipeline: Pipeline, *, held: bool = False) -> Iterator[Gate]:
    """While the block lasts, all that the pipeline runs at 64 pixels goes through a gate.

    An image's number in `Gate.runs` is its checksum. Afterwards the gate is open.
    """
    gate, engine = Gate(held=held), pipeline.predictor.engines[64]
    run = engine.run

    def watched_run(image_N1SS: NDArray[np.uint8]) -> Output:
        gate.reached.set()
        gate.open.wait(30)
        gate.runs.append((64, [zlib.crc32(image.tobytes()) for image in image_N1SS]))
        return run(image_N1SS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "run", watched_run)
        try:
            yield gate
        finally:
            gate.open.set()


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """The present value of a metric; 0 where it has none yet."""
    return metrics.registry.get_sample_value(name, labels) or 0.0
