"""Building GPU engines ahead, each through its gate: `cxrserve models build`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.base import ActualPrecision, Output
from cxrserve.engines.engine_cache import BuiltGate
from cxrserve.errors import EngineError

# Largest difference from single precision on ONNX Runtime, in standard deviations of the output. FP16 keeps
# eleven bits of each number; bfloat16 on a CPU, with eight, differs by about 0.05.
TOLERANCE: Final = 0.05
_BLUR: Final = 8

Progress = Callable[[str, int, int], None]


def build_member(
    member: bytes, model: bytes, *, size: int, precision: ActualPrecision, device: int, progress: Progress
) -> tuple[Path, bool]:
    """Build, check and keep the engine of `model` for `device`.

    Args:
        member: the member itself, in single precision; `model` is its fp16 variant, or the same.
        progress: told the phase, its step, and how many steps there are.

    Returns:
        where the engine lies, and whether it was there already.

    Raises:
        BundleError, EngineError: it cannot be built, or answers otherwise than the member; nothing is kept.
    """
    from cxrserve.engines import cuda, engine_cache, tensorrt
    from cxrserve.engines.onnxruntime import OnnxRuntimeEngine

    cuda.use(device)
    key = tensorrt.key_of(model, size, precision, device)
    folder = engine_cache.cache_folder()
    if engine_cache.find(folder, key) is not None:
        return folder / f"{key.digest}.engine", True
    built = tensorrt.build(model, size, progress)
    reference = OnnxRuntimeEngine(member, size=size, precision="f32", threads=0, cpu=True)
    gates = gate(tensorrt.Runner(built, size=size, device=device), reference, size, key.buckets)
    return engine_cache.keep(folder, key, built, gates), False


class Runs(Protocol):
    """What answers for images: an engine, or the runner of one that is not kept yet."""

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
        found = engine.run(images[:bucket])
        gates.append(
            BuiltGate(
                bucket=bucket,
                logits=_apart(found.logits_NF, expected.logits_NF[:bucket], expected.logits_NF),
                maps=_apart(found.maps_NFhw, expected.maps_NFhw[:bucket], expected.maps_NFhw),
            )
        )
        for what, apart in (("logit", gates[-1].logits), ("map", gates[-1].maps)):
            if not apart <= TOLERANCE:
                raise EngineError(
                    f"the engine of size {size} differs from single precision by {apart:.3g} standard "
                    f"deviations in a {what}, in a batch of {bucket}; at most {TOLERANCE} is allowed. It was "
                    "not kept: serve this bundle with CXRSERVE_PRECISION=f32, or on another engine"
                )
    return tuple(gates)


def films(size: int, count: int) -> NDArray[np.uint8]:
    """uint8 [count, 1, size, size]: clouds of every brightness with grain on them, the same every time."""
    random = np.random.default_rng(size)
    coarse = random.uniform(0, 256, (count, 1, max(2, size // 64), max(2, size // 64)))
    factor = -(-size // coarse.shape[-1])
    clouds = coarse.repeat(factor, 2).repeat(factor, 3)[:, :, :size, :size]
    return (clouds + random.normal(0, _BLUR, clouds.shape)).clip(0, 255).astype(np.uint8)


def _apart(found: NDArray[np.float32], expected: NDArray[np.float32], all_: NDArray[np.float32]) -> float:
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / max(float(all_.std()), 1e-12))


def build_bundle(folder: Path, *, say: Callable[[str], None], progress: Progress) -> None:
    """Build the engines of every member of the bundle in `folder`, for every kind of GPU here.

    Raises:
        EngineError: TensorRT is not installed, or there is no GPU.
        BundleError, EngineError: see `build_member`.
    """
    from cxrserve.engines.select import choose
    from cxrserve.ensemble.bundle import load_bundle

    choice = choose("tensorrt", "auto")
    members, taken = load_bundle(folder).models, choice.load(folder)
    for device in range(choice.devices):
        for size, model in taken.models.items():
            precision = taken.variants[size].precision if size in taken.variants else choice.precision
            file, was_there = build_member(
                members[size], model, size=size, precision=precision, device=device, progress=progress
            )
            say(f"GPU {device}, {size} in {precision}: {file}{' (built before)' if was_there else ''}")
