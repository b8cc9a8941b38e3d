"""Which engine serves, and why: one decision for the service, the command line and `doctor`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Literal

from cxrserve.engines.base import ActualPrecision, Engine
from cxrserve.errors import EngineError
from cxrserve.settings import EngineName, Precision

InstalledName = Literal["openvino", "onnxruntime"]

# In the order of preference; each module is imported only when it is asked for or chosen.
ENGINES: Final[dict[InstalledName, str]] = {
    "openvino": "OpenVinoEngine",
    "onnxruntime": "OnnxRuntimeEngine",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The engine that will be used, and the reason in words."""

    name: InstalledName
    version: str
    precision: ActualPrecision
    reason: str

    def build(self, model: bytes, *, size: int, threads: int, streams: int = 1) -> Engine:
        """Compile one member, for as many twins as there are `streams`.

        Raises:
            BundleError: `model` is not a graph this engine reads, or not the one the contract describes.
        """
        engine_class = getattr(_module(self.name), ENGINES[self.name])
        engine: Engine = engine_class(
            model, size=size, precision=self.precision, threads=threads, streams=streams
        )
        return engine


def choose(asked: EngineName, precision: Precision) -> Choice:
    """The engine for what was `asked`.

    Raises:
        EngineError: it is not installed, or does not run here; says what is missing.
    """
    candidates = list(ENGINES) if asked == "auto" else [asked]
    missing: list[str] = []
    for name in candidates:
        try:
            module = _module(name)
        except ImportError as error:
            missing.append(f"{name}: {error}")
            continue
        actual: ActualPrecision = module.choose_precision(precision)
        reason = "asked for by name" if asked != "auto" else "the fastest that is installed"
        reason += {"bf16": "; this CPU computes in bfloat16", "f32": "; in single precision"}[actual]
        return Choice(name=name, version=module.VERSION, precision=actual, reason=reason)
    raise EngineError(
        f"no engine can be used ({'; '.join(missing)}). Install cxrserve with its dependencies again."
    )


def _module(name: InstalledName) -> ModuleType:
    return importlib.import_module(f"cxrserve.engines.{name}")
