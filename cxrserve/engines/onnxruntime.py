"""ONNX Runtime: the portable engine; in fp32 on a CPU, and on a GPU what serves where TensorRT does not.

On a GPU every start compares it with the CPU, for one image and for its largest batch: nothing is built ahead
that could remember it. Its CUDA provider has not run on a GPU yet.
"""

from __future__ import annotations

import logging
import re
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxrserve.bundle.contract import VariantPrecision
from cxrserve.engines import cuda
from cxrserve.engines.base import ActualPrecision, Output, check_signature
from cxrserve.engines.gate import gate
from cxrserve.errors import BundleError, EngineError
from cxrserve.settings import Precision

VERSION: str = ort.__version__
# Measured with DenseNet121 on two cores: at 256 pixels a batch of 4 takes 8 % less time than its images one
# by one, at 512 it takes 14 % more, as its activations leave the cache.
_BATCHED_SIDE: Final = 256
_BATCHED_IMAGES: Final = 4


# On a GPU a batch fills what one small image leaves idle; activations of this many pixels fit any of them.
_GPU_PIXELS: Final = 2**23
_CUDA: Final = "CUDAExecutionProvider"


# What the CUDA provider is told. Single precision is float32 all through, not TensorFloat-32 with its ten
# bits. Convolutions are chosen by cuDNN's own rules: trying all of them at each new size of a batch, as the
# provider does otherwise, stalls the first images of each for seconds.
_CUDA_OPTIONS: Final = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
# Half precision is computed by Tensor Cores, which take the channels of a place together.
_CHANNELS_LAST: Final = {"prefer_nhwc": "1"}
_log = logging.getLogger(__name__)
_FAILURE: Final = re.compile(r"CUDA failure (\d+): ([^;\n]*)")


def devices() -> int:
    """GPUs, where the installed ONNX Runtime computes on them; else one, the CPU."""
    return cuda.device_count() if on_gpu() else 1


def on_gpu() -> bool:
    """True where the installed ONNX Runtime has the CUDA provider, and there is a GPU."""
    return _CUDA in ort.get_available_providers() and cuda.device_count() > 0


def choose_variants(requested: Precision) -> tuple[VariantPrecision, ...]:
    """fp16 on a GPU; none on a CPU: int8 variants passed their gate on OpenVINO.

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
            "ONNX Runtime computes in f32 on a CPU: use engine openvino for bf16, or precision auto"
        )
    if requested == "fp16" and not on_gpu():
        raise EngineError(
            "precision fp16 needs a GPU and the package onnxruntime-gpu in place of onnxruntime; use auto"
        )
    return "f32"


class OnnxRuntimeEngine:
    """One member in an ONNX Runtime session."""

    name = "onnxruntime"

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
        cpu: bool = False,
    ) -> None:
        self.precision: ActualPrecision = variant or precision
        self._gpu = on_gpu() and not cpu
        self._size, self._threads, self._device = size, threads, device
        if not self._gpu:
            self._open(model, ["CPUExecutionProvider"])
            return
        _load_cuda()
        reference = OnnxRuntimeEngine(model, size=size, precision="f32", threads=threads, cpu=True)
        if variant == "fp16" and self._passes_channels_last(model, reference):
            return
        self._open(model, self._providers({}))
        self._pass_gate(reference)

    def _providers(self, more: dict[str, str]) -> list[Any]:
        return [(_CUDA, {"device_id": str(self._device), **_CUDA_OPTIONS, **more})]

    def _passes_channels_last(self, model: bytes, reference: OnnxRuntimeEngine) -> bool:
        """Open it with channels last; false, and a line in the log, where it does not pass the gate so."""
        self._open(model, self._providers(_CHANNELS_LAST))
        try:
            self._pass_gate(reference)
        except EngineError as error:
            _log.warning("channels last (prefer_nhwc) is not used at size %d: %s", self._size, error.detail)
            return False
        return True

    def _pass_gate(self, reference: OnnxRuntimeEngine) -> None:
        gate(self, reference, self._size, tuple(sorted({1, self.max_images})))

    def _open(self, model: bytes, providers: list[Any]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads that spin would take the cores from the decoders and from the next member.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model, options, providers=providers)
        except Exception as error:
            raise BundleError(
                f"the member of size {self._size} is not an ONNX graph that ONNX Runtime reads: {error}"
            ) from error
        # Without it, ONNX Runtime goes on with the CPU and says so in a log at most.
        if self._gpu and self._session.get_providers()[0] != _CUDA:
            raise EngineError(
                "ONNX Runtime's CUDA provider could not start on this GPU: see that its CUDA and cuDNN are "
                "those it was built for, or take engine tensorrt"
            )
        inputs = _ports(self._session.get_inputs())
        check_signature(self._size, inputs, _ports(self._session.get_outputs()))
        free_batch = inputs["image"][1][0] is None
        on_cpu = _BATCHED_IMAGES if self._size <= _BATCHED_SIDE else 1
        on_device = max(1, _GPU_PIXELS // self._size**2) if self._gpu else on_cpu
        self.max_images = on_device if free_batch else 1

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S], `max_images` at a time: the graph may have a fixed batch of one."""
        starts = range(0, len(image_N1SS), self.max_images)
        batches = [image_N1SS[start : start + self.max_images] for start in starts]
        answers = [self._answer(batch) for batch in batches]
        return Output(
            logits_NF=np.concatenate([logits for logits, _ in answers]),
            maps_NFhw=np.concatenate([maps for _, maps in answers]),
        )

    def _answer(self, image_N1SS: NDArray[np.uint8]) -> Any:
        try:
            return self._session.run(["logits", "maps"], {"image": image_N1SS})
        except Exception as error:
            if match := _FAILURE.search(str(error)):
                cuda.check("ONNX Runtime", int(match[1]), lambda _: match[2].strip())
            raise

    def replica(self) -> OnnxRuntimeEngine | None:
        """Itself on a CPU: a session takes several runs at once, which share its threads. None on a GPU."""
        return None if self._gpu else self


@cache
def _load_cuda() -> None:
    """Load the CUDA and cuDNN of pip's wheels, which the linker does not find by itself; once."""
    preload = getattr(ort, "preload_dlls", None)  # from 1.21 on
    if preload is not None:
        with redirect_stdout(StringIO()):  # it prints what it misses, and the system's may do as well
            preload()


def _ports(ports: Any) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    types = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    return {
        port.name: (
            types.get(port.type, port.type),
            tuple(axis if isinstance(axis, int) else None for axis in port.shape),
        )
        for port in ports
    }
