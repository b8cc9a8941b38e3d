"""The gate for engines on a GPU: compares their output with ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.base import Output
from cxrserve.engines.engine_cache import BuiltGate
from cxrserve.errors import EngineError

# Largest difference from single precision on ONNX Runtime, in standard deviations of the output. FP16 keeps
# eleven bits of each number; bfloat16 on a CPU, with eight, differs by about 0.05.
TOLERANCE: Final = 0.05
_BLUR: Final = 8


class Runs(Protocol):
    """Anything that runs on images: an engine, or the runner of one that is not stored yet."""

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S]."""
        ...


def gate(engine: Runs, reference: Runs, size: int, buckets: tuple[int, ...]) -> tuple[BuiltGate, ...]:
    """Compare `engine` with `reference` on full batches of each bucket, logits and maps.

    Raises:
        EngineError: an answer is not finite, or differs by more than `TOLERANCE`; says in which bucket.
    """
    images = films(size, buckets[-1])
    expected = reference.run(images)
    gates: list[BuiltGate] = []
    for bucket in buckets:
        output = engine.run(images[:bucket])
        gates.append(
            BuiltGate(
                bucket=bucket,
                logits=_apart(output.logits_NF, expected.logits_NF[:bucket], expected.logits_NF),
                maps=_apart(output.maps_NFhw, expected.maps_NFhw[:bucket], expected.maps_NFhw),
            )
        )
        for what, apart in (("logit", gates[-1].logits), ("map", gates[-1].maps)):
            if not apart <= TOLERANCE:
                raise EngineError(
                    f"the engine of size {size} differs from single precision by {apart:.3g} standard "
                    f"deviations in a {what}, in a batch of {bucket}; at most {TOLERANCE} is allowed. It is "
                    "not used: serve this bundle on another engine, or with CXRSERVE_PRECISION=f32 (on "
                    "TensorRT after cxrserve models build --precision f32)"
                )
    return tuple(gates)


def films(size: int, count: int) -> NDArray[np.uint8]:
    """uint8 [count, 1, size, size]: clouds of every brightness with grain on them, the same every time."""
    random = np.random.default_rng(size)
    coarse = random.uniform(0, 256, (count, 1, max(2, size // 64), max(2, size // 64)))
    factor = -(-size // coarse.shape[-1])
    clouds = coarse.repeat(factor, 2).repeat(factor, 3)[:, :, :size, :size]
    return (clouds + random.normal(0, _BLUR, clouds.shape)).clip(0, 255).astype(np.uint8)


def _apart(output: NDArray[np.float32], expected: NDArray[np.float32], all_: NDArray[np.float32]) -> float:
    if not np.isfinite(output).all():
        return float("inf")
    return float(np.abs(output - expected).max() / max(float(all_.std()), 1e-12))
