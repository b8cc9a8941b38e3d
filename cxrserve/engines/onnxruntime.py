"""ONNX Runtime on the CPU: the portable engine, in fp32."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxrserve.engines.base import ActualPrecision, Output, check_signature
from cxrserve.errors import BundleError, EngineError
from cxrserve.settings import Precision

VERSION: str = ort.__version__
# Measured with DenseNet121 on two cores: at 256 pixels a batch of 4 takes 8 % less time than its images one
# by one, at 512 it takes 14 % more, as its activations leave the cache.
_BATCHED_SIDE: Final = 256
_BATCHED_IMAGES: Final = 4


def choose_precision(asked: Precision) -> ActualPrecision:
    """The precision that will be used for the one `asked`: always f32.

    Raises:
        EngineError: bf16 was asked for by name.
    """
    if asked == "bf16":
        raise EngineError(
            "ONNX Runtime computes in f32 on a CPU: use engine openvino for bf16, or precision auto"
        )
    return "f32"


class OnnxRuntimeEngine:
    """One member in an ONNX Runtime session."""

    name = "onnxruntime"

    def __init__(
        self, model: bytes, *, size: int, precision: ActualPrecision, threads: int, streams: int = 1
    ) -> None:
        self.precision: ActualPrecision = precision
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads that spin would take the cores from the decoders and from the next member.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(
                f"the member of size {size} is not an ONNX graph that ONNX Runtime reads: {error}"
            ) from error
        inputs = _ports(self._session.get_inputs())
        check_signature(size, inputs, _ports(self._session.get_outputs()))
        free_batch = inputs["image"][1][0] is None
        self.most_images = _BATCHED_IMAGES if free_batch and size <= _BATCHED_SIDE else 1

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S], `most_images` at a time: the graph may have a fixed batch of one."""
        starts = range(0, len(image_N1SS), self.most_images)
        batches = [image_N1SS[start : start + self.most_images] for start in starts]
        answers = [self._session.run(["logits", "maps"], {"image": batch}) for batch in batches]
        return Output(
            logits_NF=np.concatenate([logits for logits, _ in answers]),
            maps_NFhw=np.concatenate([maps for _, maps in answers]),
        )

    def twin(self) -> OnnxRuntimeEngine:
        """Itself: a session takes several runs at once, which share its threads."""
        return self


def _ports(ports: Any) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    types = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    return {
        port.name: (
            types.get(port.type, port.type),
            tuple(axis if isinstance(axis, int) else None for axis in port.shape),
        )
        for port in ports
    }
