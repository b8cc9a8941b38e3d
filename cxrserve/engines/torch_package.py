"""AOTInductor packages: a member's graph compiled ahead for one number of images, on this machine.

A package is code, and needs torch's own libraries, but no compiler and no Triton where it is loaded. Its
bytes come from the folder of built engines alone (`engine_cache`), never out of a bundle.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch._C import _aoti

from cxrserve import __version__
from cxrserve.engines import cuda
from cxrserve.engines.base import ActualPrecision
from cxrserve.engines.engine_cache import EngineKey, cache_folder, find
from cxrserve.errors import EngineError

_CPU_INFO: Final = Path("/proc/cpuinfo")
_NAME: Final = "model"  # what AOTInductor calls the graph in a package


def key_of(model: bytes, *, precision: ActualPrecision, bucket: int, device: str) -> EngineKey:
    """The key of the package of `model` for `bucket` images on `device`, torch's name of a GPU or the CPU."""
    gpu = torch.device(device).index
    name, instructions = _cpu() if gpu is None else (cuda.device_name(gpu), cuda.architecture(gpu))
    return EngineKey(
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        builder=f"torch {torch.__version__}, cxrserve {__version__}",  # which makes the graph
        architecture=instructions,
        device=name,
        driver="none" if gpu is None else cuda.driver_version(),
        precision=precision,
        buckets=(bucket,),
    )


def _cpu() -> tuple[str, str]:
    """Name and instructions of this machine's CPU: code is compiled for just these."""
    lines = _CPU_INFO.read_text(encoding="utf-8").splitlines() if _CPU_INFO.exists() else []
    about = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = " ".join(sorted(about.get("flags", about.get("Features", "")).split()))
    named = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return about.get(
        "model name", platform.processor()
    ), f"{named} {hashlib.sha256(flags.encode()).hexdigest()}"


class Package:
    """A package that is loaded, for `bucket` images; its weights are in it.

    Args:
        runners: threads that may be inside at once, on a CPU.

    Raises on construction:
        EngineError: torch does not load it; says why.
    """

    def __init__(self, built: bytes, *, device: str, runners: int = 1) -> None:
        gpu = torch.device(device)
        # The loader unpacks the file into a folder of its own, and needs it no longer than this.
        with tempfile.TemporaryDirectory(prefix="cxrserve-") as folder:
            file = Path(folder) / "member.pt2"
            file.write_bytes(built)
            try:
                # Waiting for other threads cannot be recorded, and on a GPU there is one owner alone.
                self._loader: Final = _aoti.AOTIModelPackageLoader(
                    str(file), _NAME, gpu.type == "cuda", runners, -1 if gpu.index is None else gpu.index
                )
            except RuntimeError as error:
                raise EngineError(
                    f"torch {torch.__version__} does not load a package that was built here: "
                    f"{first_line(error)}. Its code is unpacked below {tempfile.gettempdir()}, where it must "
                    f"be allowed to run. To do without packages, delete {cache_folder()}"
                ) from error

    def run(self, image_N1SS: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and maps of uint8 [N, 1, S, S] on the device, in float32; N as it was built for."""
        logits, maps = self._loader.run([image_N1SS])
        return logits, maps


def packages_of(
    model: bytes, *, precision: ActualPrecision, buckets: tuple[int, ...], device: str, runners: int = 1
) -> dict[int, Package]:
    """The packages of `model` that were built on this machine, by their number of images.

    Raises:
        EngineError: one was changed, others may have written it, or torch does not load it.
    """
    packages: dict[int, Package] = {}
    for bucket in buckets:
        built = find(cache_folder(), key_of(model, precision=precision, bucket=bucket, device=device))
        if built is not None:
            packages[bucket] = Package(built[0], device=device, runners=runners)
    return packages


def first_line(error: Exception) -> str:
    """The first line of what torch says that is not empty, without its full stop."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    ).rstrip(".")
