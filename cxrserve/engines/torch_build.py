"""Building for torch: a graph becomes an AOTInductor package for each bucket, each through its gate."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from cxrserve.engines import engine_cache
from cxrserve.engines.base import ActualPrecision
from cxrserve.engines.gate import gate
from cxrserve.engines.onnxruntime import OnnxRuntimeEngine
from cxrserve.engines.torch import buckets_for, place, runs_of
from cxrserve.engines.torch_graph import TorchGraph
from cxrserve.engines.torch_package import Package, first_line, key_of
from cxrserve.errors import EngineError

_COMPILER_CACHE: Final = "TORCHINDUCTOR_CACHE_DIR"
# As many threads as the engine sets when it runs, and not as many as there were when it was built.
_OPTIONS: Final[dict[str, object]] = {"cpp.dynamic_threads": True}


def build_packages(
    member: bytes,
    model: bytes,
    *,
    size: int,
    precision: ActualPrecision,
    device: int,
    progress: Callable[[str, int, int], None],
) -> list[tuple[Path, bool]]:
    """Build, check and keep the packages of `model`, one for each bucket.

    Args:
        member: the member itself, in single precision; `model` is its fp16 variant, or the same.
        progress: told what is compiled, how many are done, and how many there are.

    Returns:
        where each lies, and whether it was there already.

    Raises:
        BundleError, EngineError: one cannot be built, or answers otherwise than the member; it is not kept.
    """
    where = place(device)
    graph = TorchGraph(model, size=size, device=where)
    reference = OnnxRuntimeEngine(member, size=size, precision="f32", threads=0, cpu=True)
    folder, kept = engine_cache.cache_folder(), list[tuple[Path, bool]]()
    buckets = buckets_for(graph, size)
    for done, bucket in enumerate(buckets):
        key = key_of(model, precision=precision, bucket=bucket, device=where)
        if engine_cache.find(folder, key) is not None:
            kept.append((engine_cache.file_of(folder, key), True))
            continue
        progress(f"{size}, {bucket} images", done, len(buckets))
        engine_cache.prepare(folder)
        built = build(graph, size=size, bucket=bucket, device=where)
        package = {bucket: Package(built, device=where)}
        runs = runs_of(graph, package, size=size, buckets=(bucket,), device=where, threads=1)
        gates = gate(runs, reference, size, (bucket,))
        kept.append((engine_cache.keep(folder, key, built, gates), False))
    return kept


def build(graph: TorchGraph, *, size: int, bucket: int, device: str) -> bytes:
    """Compile `graph` for `bucket` images on `device`; takes from ten seconds to minutes.

    Raises:
        EngineError: torch cannot export or compile it, as where there is no C++ compiler; says why.
    """
    # What torch keeps between compilations is unpickled and run: it must be this user's alone, too.
    between = engine_cache.cache_folder().parent / "inductor"
    engine_cache.prepare(between)
    os.environ.setdefault(_COMPILER_CACHE, str(between))
    image = torch.zeros((bucket, 1, size, size), dtype=torch.uint8, device=device)
    with tempfile.TemporaryDirectory(prefix="cxrserve-") as folder:
        file = str(Path(folder) / "member.pt2")
        try:
            with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                exported = torch.export.export(_Module(graph), (image,), strict=False)
                torch._inductor.aoti_compile_and_package(
                    exported, package_path=file, inductor_configs=dict(_OPTIONS)
                )
        except Exception as error:  # torch's exporter and compiler have dozens of their own
            raise EngineError(
                f"torch cannot compile the member of size {size} for {bucket} images: {first_line(error)}. "
                "A C++ compiler is needed (g++), and on a GPU Triton. The engine also runs without packages"
            ) from error
        return Path(file).read_bytes()


class _Module(torch.nn.Module):
    """A graph as what torch exports."""

    def __init__(self, graph: TorchGraph) -> None:
        super().__init__()
        self._graph = graph

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self._graph.run(image)
