"""Building GPU engines ahead, each through its gate: `cxrserve models build`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cxrserve.engines.base import ActualPrecision
from cxrserve.engines.gate import gate
from cxrserve.settings import Precision

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
    from cxrserve.engines import cuda, engine_cache, tensorrt, tensorrt_build
    from cxrserve.engines.onnxruntime import OnnxRuntimeEngine

    cuda.use(device)
    key = tensorrt.key_of(model, size, precision, device)
    folder = engine_cache.cache_folder()
    if engine_cache.find(folder, key) is not None:
        return folder / f"{key.digest}.engine", True
    engine_cache.prepare(folder)
    built = tensorrt_build.build(model, size, progress)
    reference = OnnxRuntimeEngine(member, size=size, precision="f32", threads=0, cpu=True)
    with closing(tensorrt.Runner(built, size=size, device=device)) as runner:
        gates = gate(runner, reference, size, runner.buckets)
    return engine_cache.keep(folder, key, built, gates), False


def build_bundle(
    folder: Path, *, precision: Precision, say: Callable[[str], None], progress: Progress
) -> None:
    """Build the engines of every member of the bundle in `folder`, for every kind of GPU here.

    Args:
        precision: as it will be served: auto takes fp16 variants where the bundle has them, f32 none.

    Raises:
        EngineError: TensorRT is not installed, or there is no GPU.
        BundleError, EngineError: see `build_member`.
    """
    from cxrserve.bundle.contract import load_bundle
    from cxrserve.engines.select import choose

    choice = choose("tensorrt", precision)
    members, engines = load_bundle(folder).models, choice.load(folder)
    for device in range(choice.devices):
        for size, model in engines.models.items():
            actual = engines.variants[size].precision if size in engines.variants else choice.precision
            file, was_there = build_member(
                members[size], model, size=size, precision=actual, device=device, progress=progress
            )
            say(f"GPU {device}, {size} in {actual}: {file}{' (built before)' if was_there else ''}")
