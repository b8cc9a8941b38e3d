"""Building engines ahead, each through its gate: `cxrserve models build`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

from cxrserve.engines.base import ActualPrecision
from cxrserve.engines.gate import gate
from cxrserve.settings import Precision

Progress = Callable[[str, int, int], None]
Built = Literal["tensorrt", "torch"]  # engines that are built ahead


def build_member(
    member: bytes, model: bytes, *, size: int, precision: ActualPrecision, device: int, progress: Progress
) -> tuple[Path, bool]:
    """Build, check and keep the TensorRT engine of `model` for `device`.

    Args:
        member: the member itself, in single precision; `model` is its fp16 variant, or the same.
        progress: told the phase, its step, and how many steps there are.

    Returns:
        where the engine lies, and whether it was there already.

    Raises:
        BundleError, EngineError: it cannot be built, or answers otherwise than the member; nothing is kept.
    """
    from cxrserve.engines import cuda, engine_cache, tensorrt, tensorrt_build
    from cxrserve.engines.onnxruntime import OnnxRuntimeEngine

    cuda.use(device)
    key = tensorrt.key_of(model, size, precision, device)
    folder = engine_cache.cache_folder()
    if engine_cache.find(folder, key) is not None:
        return engine_cache.file_of(folder, key), True
    engine_cache.prepare(folder)
    built = tensorrt_build.build(model, size, progress)
    reference = OnnxRuntimeEngine(member, size=size, precision="f32", threads=0, cpu=True)
    with closing(tensorrt.Runner(built, size=size, device=device)) as runner:
        gates = gate(runner, reference, size, runner.buckets)
    return engine_cache.keep(folder, key, built, gates), False


def build_bundle(
    folder: Path,
    *,
    precision: Precision,
    say: Callable[[str], None],
    progress: Progress,
    engine: Built = "tensorrt",
) -> None:
    """Build the engines of every member of the bundle in `folder`, for every kind of GPU here.

    Args:
        precision: as it will be served: auto takes fp16 variants where the bundle has them, f32 none.
        engine: tensorrt for GPUs; torch for GPUs, or for the CPU where there is none.

    Raises:
        EngineError: the engine is not installed, or TensorRT finds no GPU.
        BundleError, EngineError: see `build_member` and `torch_build.build_packages`.
    """
    from cxrserve.bundle.contract import load_bundle
    from cxrserve.engines.select import choose

    choice = choose(engine, precision)
    members, models = load_bundle(folder).models, choice.load(folder)
    for device in range(choice.devices):
        for size, model in models.models.items():
            actual = models.variants[size].precision if size in models.variants else choice.precision
            built = _built(engine, members[size], model, size, actual, device, progress)
            for file, was_there in built:
                before = " (built before)" if was_there else ""
                say(f"{_named(engine, device)}, {size} in {actual}: {file}{before}")


def _named(engine: Built, device: int) -> str:
    if engine == "torch":
        from cxrserve.engines.torch import place

        return place(device)
    return f"GPU {device}"


def _built(
    engine: Built,
    member: bytes,
    model: bytes,
    size: int,
    precision: ActualPrecision,
    device: int,
    progress: Progress,
) -> list[tuple[Path, bool]]:
    if engine == "tensorrt":
        one = build_member(member, model, size=size, precision=precision, device=device, progress=progress)
        return [one]
    from cxrserve.engines.torch_build import build_packages

    return build_packages(member, model, size=size, precision=precision, device=device, progress=progress)
