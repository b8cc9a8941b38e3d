"""OpenVINO on the CPU: the engine of choice where there is no GPU."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from cxrserve.bundle.contract import VariantPrecision
from cxrserve.engines.base import ActualPrecision, Output, check_signature
from cxrserve.errors import BundleError, EngineError
from cxrserve.settings import Precision

VERSION: str = ov.__version__
# Linux's names of instructions that multiply 8-bit integers and add in 32 bits: without them, int8 saturates
# or is slower than it could be.
_INT8_FLAGS: Final = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "asimddp"}


def computes_bf16() -> bool:
    """True where the CPU multiplies in bfloat16 (AMX, or AVX-512 with its BF16 extension)."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def computes_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """True where the CPU has instructions for dot products of 8-bit integers (VNNI, AMX-INT8, or Arm's)."""
    try:
        flags = cpuinfo.read_text().split()
    except OSError:
        return False
    return not _INT8_FLAGS.isdisjoint(flags)


def choose_variants(requested: Precision) -> tuple[VariantPrecision, ...]:
    """The precisions of variants that are taken where a bundle has them, best first.

    Raises:
        EngineError: int8 was asked for by name, and this CPU has no instructions for it.
    """
    if requested not in ("auto", "int8"):
        return ()
    if computes_int8():
        return ("int8", "mixed")
    if requested == "int8":
        raise EngineError(
            "precision int8 was asked for, but this CPU has no instructions for it (VNNI, AMX-INT8); use auto"
        )
    return ()


def devices() -> int:
    """The CPU is one, however many sockets it has."""
    return 1


def choose_precision(requested: Precision) -> ActualPrecision:
    """The precision that will be used for the one `asked`, where no variant is taken.

    Raises:
        EngineError: bf16 was asked for by name, and this CPU does not compute in it.
    """
    if requested == "fp16":
        raise EngineError("precision fp16 is for GPUs: use engine tensorrt or onnxruntime there, or auto")
    able = computes_bf16()
    if requested == "bf16" and not able:
        raise EngineError(
            "precision bf16 was asked for, but this CPU does not compute in bfloat16; use auto or f32"
        )
    return "bf16" if able and requested != "f32" else "f32"


class OpenVinoEngine:
    """One member, compiled with a static shape: dynamic shapes make OpenVINO's memory grow.

    With one stream, an image has all threads; with more, each replica has its share of them.
    """

    name = "openvino"
    max_images = 1

    def __init__(
        self,
        model: bytes,
        *,
        size: int,
        precision: ActualPrecision,
        threads: int,
        streams: int = 1,
        variant: VariantPrecision | None = None,
    ) -> None:
        # What a variant does not compute in integers, it computes in `precision`.
        self.precision: ActualPrecision = variant or precision
        core = ov.Core()
        try:
            graph = core.read_model(model=model)
        except RuntimeError as error:
            raise BundleError(
                f"the member of size {size} is not an ONNX graph that OpenVINO reads: {error}"
            ) from error
        check_signature(size, _ports(graph.inputs), _ports(graph.outputs))
        graph.reshape({"image": [1, 1, size, size]})
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
        }
        self._compiled = core.compile_model(graph, "CPU", options)
        self._request = self._compiled.create_infer_request()

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S], one image after the other."""
        answers = [self._request.infer({"image": image[None]}) for image in image_N1SS]
        return Output(
            logits_NF=np.concatenate([np.asarray(answer["logits"]) for answer in answers]),
            maps_NFhw=np.concatenate([np.asarray(answer["maps"]) for answer in answers]),
        )

    def replica(self) -> OpenVinoEngine:
        """Another request to the same compiled graph; it runs on another stream."""
        second = copy(self)
        second._request = self._compiled.create_infer_request()
        return second


def _ports(ports: Any) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    types = {"f32": "float32", "u8": "uint8"}
    return {
        port.get_any_name(): (
            types.get(port.get_element_type().get_type_name(), port.get_element_type().get_type_name()),
            tuple(axis.get_length() if axis.is_static else None for axis in port.get_partial_shape()),
        )
        for port in ports
    }
