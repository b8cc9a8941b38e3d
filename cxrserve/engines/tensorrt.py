"""TensorRT on a GPU: engines built ahead by `cxrserve models build`, run from CUDA graphs.

TensorRT 11 builds strongly typed networks alone: FP16 is what the bundle's fp16 variant says layer by layer.
Per size one engine, with a profile of fixed shape for each bucket of images. Of a batch, grey values of one
byte go to the GPU from pinned memory; normalisation is in the graph; logits and maps come back in float32.

It has not run on a GPU yet. What does not need one (buckets, buffers, key, cache, messages) is tested.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from cxrserve.bundle.contract import STRIDE, VariantPrecision
from cxrserve.engines import cuda
from cxrserve.engines.base import ActualPrecision, Output, Shape, check_signature
from cxrserve.engines.buckets import BufferPlan, buckets_of, split
from cxrserve.engines.engine_cache import EngineKey, cache_folder, find, not_built
from cxrserve.errors import EngineError
from cxrserve.findings import NAMES
from cxrserve.settings import Precision

VERSION: str = trt.__version__
_TYPES: Final = {"UINT8": "uint8", "FLOAT": "float32"}


def devices() -> int:
    """GPUs that this process may use."""
    return cuda.device_count()


def choose_variants(requested: Precision) -> tuple[VariantPrecision, ...]:
    """fp16, unless f32 was asked for.

    Raises:
        EngineError: int8 was asked for by name.
    """
    if requested == "int8":
        raise EngineError("int8 variants are served by OpenVINO on a CPU: use fp16 or auto on a GPU")
    return ("fp16",) if requested in ("auto", "fp16") else ()


def choose_precision(requested: Precision) -> ActualPrecision:
    """The precision of members without an fp16 variant: f32.

    Raises:
        EngineError: bf16 was asked for by name, or there is no GPU.
    """
    if requested == "bf16":
        raise EngineError("TensorRT engines are built in fp16 or f32: use one of them, or precision auto")
    if not cuda.device_count():
        raise EngineError("TensorRT needs an NVIDIA GPU and its driver, and there is none; use engine auto")
    return "f32"


def key_of(model: bytes, size: int, precision: ActualPrecision, device: int) -> EngineKey:
    """The key of the engine that `model` needs on `device`."""
    return EngineKey(
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        builder=f"TensorRT {VERSION}",
        architecture=cuda.architecture(device),
        device=cuda.device_name(device),
        driver=cuda.driver_version(),
        precision=precision,
        buckets=buckets_of(size),
    )


class Log(trt.ILogger):  # type: ignore[misc]
    """Keeps TensorRT's last complaint for our own message; nothing is printed."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def log(self, severity: Any, message: str) -> None:
        """Called by TensorRT, from any of its threads."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.last = message


def started(make: Callable[[Log], Any], log: Log) -> Any:
    """Call `make` to create a TensorRT object.

    TensorRT may return an object although it has logged an error, as where there is no driver; the first use
    of such an object ends the process. So an error in the log counts like a null pointer.

    Raises:
        EngineError: CUDA does not start, as where the driver is older than TensorRT asks for.
    """
    log.last = ""
    cause: TypeError | None = None
    try:
        made = make(log)
    except TypeError as error:  # pybind11's word for a null pointer
        cause = error
    if cause is None and not log.last:
        return made
    raise EngineError(
        f"TensorRT {VERSION} does not start on this GPU, driver {cuda.driver_version()}: "
        f"{log.last or 'it does not say why'}"
    ) from cause


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bucket:
    """A recorded run of one number of images; its context must live as long as the recording."""

    context: Any
    recording: ctypes.c_void_p


class TensorRtEngine:
    """One member on one GPU."""

    name = "tensorrt"

    def __init__(
        self,
        model: bytes,
        *,
        size: int,
        precision: ActualPrecision,
        threads: int,
        streams: int = 1,
        variant: VariantPrecision | None = None,
        device: int = 0,
    ) -> None:
        self.precision: ActualPrecision = variant or precision
        cuda.use(device)
        key = key_of(model, size, self.precision, device)
        cached = find(cache_folder(), key)
        if cached is None:
            raise not_built(size, key)
        self._runner = Runner(cached[0], size=size, device=device)
        self.max_images = self._runner.buckets[-1]

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S]."""
        return self._runner.run(image_N1SS)

    def replica(self) -> None:
        """None: two owners would overwrite each other's images in the buffers, which hold one batch."""


class Runner:
    """A built engine with its buffers and a recording for each bucket; they are held until it is closed.

    Attributes:
        buckets: the numbers of images that it was built for, ascending.

    Raises on construction:
        BundleError: its tensors are not those of a member of `size`.
        EngineError: TensorRT or the GPU refuses; says why.
    """

    def __init__(self, built: bytes, *, size: int, device: int) -> None:
        self._size, self._device, self._log = size, device, Log()
        self._runtime: Any = started(trt.Runtime, self._log)
        self._engine: Any = self._runtime.deserialize_cuda_engine(built)
        if self._engine is None:
            raise EngineError(f"TensorRT cannot load the engine of size {size}: {self._log.last}")
        _check_tensors(self._engine, size)
        self.buckets: Final = _buckets(self._engine)
        self._plan: Final = BufferPlan.of(size)
        with ExitStack() as held:
            self._stream = cuda.Stream()
            held.callback(self._stream.close)
            largest = self._plan.bytes_of(self.buckets[-1])
            self._on_device: Final = {
                name: self._device_memory(held, count) for name, count in largest.items()
            }
            self._pinned: Final = {name: self._pinned_memory(held, count) for name, count in largest.items()}
            # One owner runs one bucket at a time, so that all contexts may share their working memory.
            self._work_bytes: int = self._engine.device_memory_size_v2
            self._work: Final = self._device_memory(held, self._work_bytes)
            self._recorded: Final[dict[int, _Bucket]] = {}
            held.callback(self._forget)
            for profile, bucket in enumerate(self.buckets):
                self._recorded[bucket] = self._record(profile, bucket)
            self._held: Final = held.pop_all()

    def close(self) -> None:
        """Give everything back that it holds on the GPU, and the memory pinned for it. Idempotent."""
        cuda.use(self._device)
        self._held.close()
        self._engine = self._runtime = None

    def _forget(self) -> None:
        for graph in self._recorded.values():
            self._stream.forget(graph.recording)
        self._recorded.clear()  # the contexts, before the memory they use

    @staticmethod
    def _device_memory(held: ExitStack, size: int) -> int:
        address = cuda.device_memory(size)
        held.callback(cuda.free_device, address)
        return address

    @staticmethod
    def _pinned_memory(held: ExitStack, size: int) -> ctypes.Array[ctypes.c_ubyte]:
        memory = cuda.pinned_memory(size)
        held.callback(cuda.free_pinned, memory)
        return memory

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S], in the fewest runs."""
        cuda.use(self._device)
        cells, start = self._size // STRIDE, 0
        logits_NF = np.empty((len(image_N1SS), len(NAMES)), np.float32)
        maps_NFhw = np.empty((len(image_N1SS), len(NAMES), cells, cells), np.float32)
        for images, bucket in split(len(image_N1SS), self.buckets):
            part = slice(start, start + images)
            self._view("image", np.uint8, image_N1SS[part].shape)[:] = image_N1SS[part]
            self._stream.replay(self._recorded[bucket].recording)
            self._stream.wait()
            logits_NF[part] = self._view("logits", np.float32, logits_NF[part].shape)
            maps_NFhw[part] = self._view("maps", np.float32, maps_NFhw[part].shape)
            start += images
        return Output(logits_NF=logits_NF, maps_NFhw=maps_NFhw)

    def _view(self, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
        count = int(np.prod(shape))
        flat: NDArray[Any] = np.frombuffer(memoryview(self._pinned[name]), dtype, count)
        return flat.reshape(shape)

    def _record(self, profile: int, bucket: int) -> _Bucket:
        context: Any = self._engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise self._refused("a context", bucket)
        context.set_device_memory(self._work, self._work_bytes)
        counts = self._plan.bytes_of(bucket)
        ready = [
            context.set_optimization_profile_async(profile, self._stream.handle),
            context.set_input_shape("image", (bucket, 1, self._size, self._size)),
            *(context.set_tensor_address(name, self._on_device[name]) for name in counts),
        ]
        if not all(ready):
            raise self._refused("its shapes", bucket)

        def work() -> None:
            self._stream.to_device(self._on_device["image"], self._pinned["image"], counts["image"])
            if not context.execute_async_v3(self._stream.handle):
                raise self._refused("to run", bucket)
            for name in ("logits", "maps"):
                self._stream.to_host(self._pinned[name], self._on_device[name], counts[name])

        # Once as it is: TensorRT prepares on the first run what may not be recorded.
        work()
        self._stream.wait()
        return _Bucket(context=context, recording=self._stream.record(work))

    def _refused(self, what: str, bucket: int) -> EngineError:
        why = self._log.last or "it does not say why"
        return EngineError(f"TensorRT refuses {what} for {bucket} images of size {self._size}: {why}")


def _buckets(engine: Any) -> tuple[int, ...]:
    """The numbers of images of the profiles that `engine` was built with; its own record of them."""
    profiles = range(engine.num_optimization_profiles)
    return tuple(int(engine.get_tensor_profile_shape("image", profile)[-1][0]) for profile in profiles)


def _check_tensors(engine: Any, size: int) -> None:
    sides: dict[Any, dict[str, tuple[str, Shape]]] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = engine.get_tensor_dtype(name).name
        shape: Shape = tuple(None if axis < 0 else int(axis) for axis in engine.get_tensor_shape(name))
        sides.setdefault(engine.get_tensor_mode(name), {})[name] = (_TYPES.get(kind, kind), shape)
    check_signature(size, sides.get(trt.TensorIOMode.INPUT, {}), sides.get(trt.TensorIOMode.OUTPUT, {}))
