"""PyTorch: a member's ONNX graph as torch operations; on a GPU, a CUDA graph is recorded for each bucket.

For GPU machines that have torch and neither TensorRT nor ONNX Runtime's CUDA provider. Serving compiles
nothing: each start records it again, in seconds, and compares the recordings of one image and of the largest
batch with ONNX Runtime on the CPU. `cxrserve models build --engine torch` compiles packages ahead
(`torch_package`), which then take the place of the operations. On a CPU it runs in f32, so that all but the
recording is tested; OpenVINO is faster there. It has not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrserve.bundle.contract import STRIDE, VariantPrecision
from cxrserve.engines import cuda
from cxrserve.engines.base import ActualPrecision, Output
from cxrserve.engines.buckets import buckets_of, split
from cxrserve.engines.gate import gate
from cxrserve.engines.torch_graph import TorchGraph
from cxrserve.engines.torch_package import packages_of
from cxrserve.errors import EngineError
from cxrserve.findings import NAMES
from cxrserve.settings import Precision

VERSION: str = torch.__version__
_WARM_UP: Final = 3  # runs before a recording: cuDNN chooses its kernels on the first
_OUT_OF_MEMORY: Final = 2  # cudaErrorMemoryAllocation


def on_gpu() -> bool:
    """True where the installed torch computes on a GPU, and there is one."""
    return bool(cuda.device_count()) and torch.cuda.is_available()


def devices() -> int:
    """GPUs, where the installed torch computes on them; else one, the CPU."""
    return torch.cuda.device_count() if on_gpu() else 1


def choose_variants(requested: Precision) -> tuple[VariantPrecision, ...]:
    """fp16 on a GPU; none on a CPU.

    Raises:
        EngineError: int8 was asked for by name.
    """
    if requested == "int8":
        raise EngineError("int8 variants are served by OpenVINO: use engine openvino, or precision auto")
    return ("fp16",) if requested in ("auto", "fp16") and on_gpu() else ()


def choose_precision(requested: Precision) -> ActualPrecision:
    """The precision that will be used for the one `asked`, where no variant is taken: always f32.

    Raises:
        EngineError: bf16 was asked for by name, or fp16 without a GPU.
    """
    if requested == "bf16":
        raise EngineError(
            "the torch engine computes in the precision that the graph names, fp16 or f32: use one of them, "
            "or precision auto"
        )
    if requested == "fp16" and not on_gpu():
        raise EngineError("precision fp16 needs a GPU and a torch that computes on it; use auto")
    return "f32"


def place(device: int) -> str:
    """Torch's name of the GPU `device`; of the CPU, where it computes on none."""
    return f"cuda:{device}" if on_gpu() else "cpu"


def buckets_for(graph: TorchGraph, size: int) -> tuple[int, ...]:
    """Numbers of images of one run of `graph`: one on a CPU, or where it takes no more."""
    return buckets_of(size) if on_gpu() and graph.free_batch else (1,)


class TorchEngine:
    """One member in torch, on one GPU or on the CPU.

    Attributes:
        packaged: numbers of images for which a package was built on this machine, and is used.
    """

    name = "torch"

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
        where = place(device)
        with _errors_of_cuda():
            graph = TorchGraph(model, size=size, device=where)
            buckets = buckets_for(graph, size)
            packages = packages_of(
                model, precision=self.precision, buckets=buckets, device=where, runners=streams
            )
            self._runs = runs_of(
                graph, packages, size=size, buckets=buckets, device=where, threads=max(1, threads // streams)
            )
        self.packaged: Final = tuple(packages)
        self.max_images = buckets[-1]
        if isinstance(self._runs, Recordings):
            self._gate(model, size, threads)

    def _gate(self, model: bytes, size: int, threads: int) -> None:
        from cxrserve.engines.onnxruntime import OnnxRuntimeEngine

        reference = OnnxRuntimeEngine(model, size=size, precision="f32", threads=threads, cpu=True)
        gate(self, reference, size, tuple(sorted({1, self.max_images})))

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S]; on a CPU one image after the other."""
        with _errors_of_cuda():
            return self._runs.run(image_N1SS)

    def replica(self) -> TorchEngine | None:
        """Itself on a CPU, where runs share the weights alone. None on a GPU: its buffers hold one batch."""
        return None if isinstance(self._runs, Recordings) else self


class Runs(Protocol):
    """A graph, or its package for one number of images."""

    def run(self, image_N1SS: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and maps of uint8 [N, 1, S, S], in float32, on the same device."""
        ...


def runs_of(
    graph: TorchGraph,
    packages: Mapping[int, Runs],
    *,
    size: int,
    buckets: tuple[int, ...],
    device: str,
    threads: int,
) -> Recordings | OneByOne:
    """Runs of `graph` on `device`, by a package for each bucket that has one."""
    if device == "cpu":
        return OneByOne(packages.get(1, graph), threads)
    taken = {bucket: packages.get(bucket, graph) for bucket in buckets}
    return Recordings(taken, size=size, device=torch.device(device))


class OneByOne:
    """Runs on the CPU: one image after the other, with a number of threads."""

    def __init__(self, runs: Runs, threads: int) -> None:
        self._runs, self._threads = runs, threads

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S]."""
        with torch.inference_mode(), _threads(self._threads):
            answers = [self._runs.run(torch.from_numpy(image[None])) for image in image_N1SS.copy()]
        return Output(
            logits_NF=np.concatenate([logits.numpy() for logits, _ in answers]),
            maps_NFhw=np.concatenate([maps.numpy() for _, maps in answers]),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Recording:
    """A recorded run of one number of images, with the memory that it reads and writes on the GPU."""

    graph: Any
    image: Tensor
    logits: Tensor
    maps: Tensor


class Recordings:
    """Runs on a GPU, recorded for each bucket of images: one call instead of one a kernel.

    Args:
        runs: by their number of images, ascending.
    """

    def __init__(self, runs: Mapping[int, Runs], *, size: int, device: torch.device) -> None:
        self._size, self._buckets, self._device = size, tuple(runs), device
        largest, cells = self._buckets[-1], size // STRIDE
        self._images = torch.empty((largest, 1, size, size), dtype=torch.uint8, pin_memory=True)
        self._logits = torch.empty((largest, len(NAMES)), pin_memory=True)
        self._maps = torch.empty((largest, len(NAMES), cells, cells), pin_memory=True)
        with torch.cuda.device(self._device), torch.inference_mode():
            self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
            # The largest first: the smaller ones find its memory in the pool. One owner runs one at a time.
            self._recorded: Final = {
                bucket: self._record(runs[bucket], bucket) for bucket in reversed(self._buckets)
            }

    def _record(self, runs: Runs, bucket: int) -> _Recording:
        image = torch.zeros((bucket, 1, self._size, self._size), dtype=torch.uint8, device=self._device)
        self._stream.wait_stream(torch.cuda.current_stream())
        # Single precision is float32 all through, not TensorFloat-32 with its ten bits.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UP):
                    runs.run(image)
            self._stream.synchronize()
            recorded = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                recorded, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                logits, maps = runs.run(image)
        return _Recording(graph=recorded, image=image, logits=logits, maps=maps)

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S], in the fewest runs."""
        cells, start = self._size // STRIDE, 0
        logits_NF = np.empty((len(image_N1SS), len(NAMES)), np.float32)
        maps_NFhw = np.empty((len(image_N1SS), len(NAMES), cells, cells), np.float32)
        with torch.cuda.device(self._device), torch.inference_mode():
            for images, bucket in split(len(image_N1SS), self._buckets):
                part = slice(start, start + images)
                self._images.numpy()[:images] = image_N1SS[part]
                self._replay(self._recorded[bucket], bucket)
                logits_NF[part] = self._logits.numpy()[:images]
                maps_NFhw[part] = self._maps.numpy()[:images]
                start += images
        return Output(logits_NF=logits_NF, maps_NFhw=maps_NFhw)

    def _replay(self, recording: _Recording, bucket: int) -> None:
        with torch.cuda.stream(self._stream):
            recording.image.copy_(self._images[:bucket], non_blocking=True)
            recording.graph.replay()
            self._logits[:bucket].copy_(recording.logits, non_blocking=True)
            self._maps[:bucket].copy_(recording.maps, non_blocking=True)
        self._stream.synchronize()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads; the setting is the process's and the thread's alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _errors_of_cuda() -> Iterator[None]:
    """Raise what torch says of a GPU as the other engines do.

    Raises:
        EngineLost: the GPU will not work for this process any more.
        EngineError: it refuses, as where its memory is full.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        cuda.check("torch", _OUT_OF_MEMORY, _saying(error))
    except torch.AcceleratorError as error:
        code = getattr(error, "error_code", None)
        if isinstance(code, int):
            cuda.check("torch", code, _saying(error))
        raise EngineError(f"the GPU refused torch: {str(error).splitlines()[0]}") from error


def _saying(error: Exception) -> Callable[[int], str]:
    """The first line of what torch says; the others tell how to look for a fault of the program."""
    first = str(error).splitlines()[0].removeprefix("CUDA error: ")
    return lambda _: first
