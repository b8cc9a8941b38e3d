"""Selection of the engine, and the reason: the same for the service, the command line and `doctor`."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

from cxrserve.bundle.contract import Bundle, Member, VariantPrecision, load_bundle
from cxrserve.bundle.self_contained import check_self_contained
from cxrserve.engines import cuda
from cxrserve.engines.base import ActualPrecision, Engine
from cxrserve.errors import BundleError, EngineError
from cxrserve.settings import EngineName, Precision

InstalledName = Literal["tensorrt", "openvino", "onnxruntime", "torch"]

# Each module is imported only when it is asked for or chosen.
ENGINES: Final[dict[InstalledName, str]] = {
    "tensorrt": "TensorRtEngine",
    "openvino": "OpenVinoEngine",
    "onnxruntime": "OnnxRuntimeEngine",
    "torch": "TorchEngine",
}
# In the order of preference. OpenVINO stands last with a GPU: it would leave it idle. Without one, torch is
# taken only by name: OpenVINO and ONNX Runtime are always there, and faster.
_WITH_GPU: Final[tuple[InstalledName, ...]] = ("tensorrt", "onnxruntime", "torch", "openvino")
_WITHOUT_GPU: Final[tuple[InstalledName, ...]] = ("openvino", "onnxruntime")
# Engines of CPUs and GPUs, and the package without which they are of no use to a GPU.
_ALSO_ON_CPUS: Final[dict[InstalledName, str]] = {
    "onnxruntime": "without its CUDA provider (package onnxruntime-gpu)",
    "torch": "built without CUDA",
}
_EXTRAS: Final[dict[EngineName, str]] = {"tensorrt": "gpu", "torch": "torch"}

# Which command makes a variant, or admits the members themselves.
_MAKERS: Final[dict[ActualPrecision, str]] = {
    "bf16": "quantize --precision bf16",
    "int8": "quantize",
    "mixed": "quantize --precision mixed",
    "fp16": "quantize --precision fp16",
}


_REASONS: Final[dict[ActualPrecision, str]] = {
    "bf16": "; this CPU computes in bfloat16, which is taken where a member's gate admits it",
    "f32": "; in single precision",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The engine that will be used, and the reason in words.

    Attributes:
        precision: of members that no variant stands for; bf16 only of those whose gate admitted it.
        variants: precisions of variants that are taken where the bundle has them, best first.
        insists: the bundle must have one of them, or a member that may be computed in `precision`.
        devices: how many there are, each with an owner and engines of its own.
    """

    name: InstalledName
    version: str
    precision: ActualPrecision
    reason: str
    variants: tuple[VariantPrecision, ...] = ()
    insists: bool = False
    devices: int = 1

    def load(self, folder: Path) -> Bundle:
        """The verified bundle in `folder`, with the variants that this engine takes.

        Raises:
            BundleError: see `load_bundle`; or a variant was asked for by name, and no member has it.
        """
        bundle = load_bundle(folder, self.variants)
        members = bundle.contract.members
        requested = self.variants[0] if self.variants else self.precision
        if (
            self.insists
            and not bundle.variants
            and all(self.precision_of(member) != requested for member in members)
        ):
            why = "; ".join(
                f"{member.size}: {member.refused[requested]}"
                for member in members
                if requested in member.refused
            )
            raise BundleError(
                f"precision {requested} was asked for, and {folder} has no member that passed its gate in it"
                + (f" ({why})" if why else "")
                + f". Use precision auto, or let it be measured: cxrserve models {_MAKERS[requested]}"
            )
        self._say_slow(bundle)
        return bundle

    def _say_slow(self, bundle: Bundle) -> None:
        """Warn of members that could be computed faster, had anybody measured what that changes."""
        slow = [
            str(member.size)
            for member in bundle.contract.members
            if self.precision_of(member) != self.precision
            and self.precision not in member.refused
            and member.size not in bundle.variants
        ]
        if slow:
            _log.warning(
                "%s: the effect of %s at %s was not measured, so these sizes are computed in f32, at half "
                "the speed or less. Measure it with: cxrserve models %s",
                bundle.contract.name,
                self.precision,
                ", ".join(slow),
                _MAKERS[self.precision],
            )

    def precision_of(self, member: Member) -> ActualPrecision:
        """The precision in which `member` is computed if no variant replaces it."""
        return "f32" if self.precision == "bf16" and member.bf16 is None else self.precision

    def build(
        self,
        model: bytes,
        *,
        size: int,
        threads: int,
        streams: int = 1,
        precision: ActualPrecision | None = None,
        variant: VariantPrecision | None = None,
        device: int = 0,
    ) -> Engine:
        """Compile one member, for as many replicas as there are `streams`.

        Args:
            precision: from `precision_of`; the choice's own where nothing is said of a member.
            variant: what `model` is in, where it is not the member itself.
            device: which GPU; a CPU is one device.

        Raises:
            BundleError: `model` is not a graph this engine reads, or not the one the contract describes.
            EngineError: a GPU does not do what is asked of it, or its engine was not built ahead.
        """
        check_self_contained(model, f"the member of size {size}")
        engine_class = getattr(_module(self.name), ENGINES[self.name])
        engine: Engine = engine_class(
            model,
            size=size,
            precision=precision or self.precision,
            threads=threads,
            streams=streams,
            variant=variant,
            **({"device": device} if self.devices > 1 else {}),
        )
        return engine


def choose(requested: EngineName, precision: Precision) -> Choice:
    """The engine for what was `asked`.

    Raises:
        EngineError: it is not installed, or does not run here; says what is missing.
    """
    candidates: Sequence[InstalledName] = (
        (requested,) if requested != "auto" else _WITH_GPU if cuda.device_count() else _WITHOUT_GPU
    )
    missing: list[str] = []
    for name in candidates:
        try:
            if candidates is _WITH_GPU and name in _ALSO_ON_CPUS and not _module(name).on_gpu():
                missing.append(f"{name}: {_ALSO_ON_CPUS[name]}")
                continue
            return _choice(name, precision, by_name=requested != "auto")
        except (ImportError, OSError) as error:  # OSError: TensorRT without its libraries
            missing.append(f"{name}: {error}")
        except EngineError as error:
            if requested != "auto":
                raise
            missing.append(f"{name}: {error.detail}")
    extra = _EXTRAS.get(requested)
    advice = f'pip install "cxrserve[{extra}]"' if extra else "Install cxrserve with its dependencies again"
    raise EngineError(f"no engine can be used ({'; '.join(missing)}). {advice}.")


def _choice(name: InstalledName, precision: Precision, *, by_name: bool) -> Choice:
    module = _module(name)
    variants: tuple[VariantPrecision, ...] = module.choose_variants(precision)
    actual: ActualPrecision = module.choose_precision(precision)
    devices: int = module.devices()
    reason = "asked for by name" if by_name else "the fastest that is installed"
    reason += _REASONS.get(actual, "")
    if variants:
        reason += f"; {' or '.join(variants)} where the bundle has a variant that passed its gate"
    return Choice(
        name=name,
        version=module.VERSION,
        precision=actual,
        reason=reason,
        variants=variants,
        insists=precision in ("bf16", "int8", "fp16"),
        devices=devices,
    )


def _module(name: InstalledName) -> ModuleType:
    return importlib.import_module(f"cxrserve.engines.{name}")
