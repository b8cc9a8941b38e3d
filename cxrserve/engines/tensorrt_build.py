"""Building with TensorRT: an ONNX graph becomes an engine for this GPU, with a profile for each bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorrt as trt

from cxrserve.engines.buckets import buckets_of
from cxrserve.engines.tensorrt import Log, started
from cxrserve.errors import BundleError, EngineError


def build(model: bytes, size: int, progress: Callable[[str, int, int], None]) -> bytes:
    """A serialised engine of the ONNX graph `model` for this GPU, with a profile for each bucket.

    A graph made for one image at a time has one bucket.

    Args:
        progress: told the phase, the step it is at, and how many there are; from TensorRT's threads.

    Raises:
        BundleError: TensorRT does not read the graph, and says where; or it takes neither one image nor any
            number of them.
        EngineError: it does not start, or finds no way to run the graph on this GPU.
    """
    log = Log()
    builder: Any = started(trt.Builder, log)
    network: Any = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser: Any = trt.OnnxParser(network, log)
    if not parser.parse(model):
        faults = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BundleError(f"the member of size {size} is not an ONNX graph that TensorRT reads: {faults}")
    config: Any = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # where the graph says float32, it is float32
    config.progress_monitor = _Monitor(progress)
    for bucket in _buckets_for(network, size):
        profile: Any = builder.create_optimization_profile()
        shape = (bucket, 1, size, size)
        profile.set_shape("image", shape, shape, shape)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT cannot build the member of size {size} for this GPU: {log.last}")
    return bytes(plan)


def _buckets_for(network: Any, size: int) -> tuple[int, ...]:
    images = int(network.get_input(0).shape[0])
    if images not in (-1, 1):
        raise BundleError(
            f"the member of size {size} takes {images} images at a time, no more and no fewer: export it for "
            "any number of them, or for one"
        )
    return (1,) if images == 1 else buckets_of(size)


class _Monitor(trt.IProgressMonitor):  # type: ignore[misc]
    """Passes TensorRT's own steps on."""

    def __init__(self, progress: Callable[[str, int, int], None]) -> None:
        super().__init__()
        self._progress, self._steps = progress, dict[str, int]()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._steps[phase_name] = num_steps

    def step_complete(self, phase_name: str, step: int) -> bool:
        self._progress(phase_name, step + 1, self._steps.get(phase_name, step + 1))
        return True

    def phase_finish(self, phase_name: str) -> None:
        self._steps.pop(phase_name, None)
