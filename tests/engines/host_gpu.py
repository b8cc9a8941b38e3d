"""A GPU made of host memory: CUDA's runtime and TensorRT as our side of them sees them, computed on the CPU.

It shows that what we ask of both is asked in order: every copy within memory that is held, nothing read
before the stream was waited for, recordings made and given back, shapes of the profile that was chosen. It
does not show that a GPU computes, or how fast.
"""

from __future__ import annotations

import base64
import ctypes
import enum
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from cxrserve import engines
from cxrserve.engines import cuda
from tests.engines.host_cuda import ILLEGAL_ADDRESS, HostCuda


class ILogger:
    """Base class of a log."""

    class Severity(enum.Enum):
        """Of TensorRT's messages."""

        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2


class TensorIOMode(enum.Enum):
    """Input or output."""

    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    """Of tensors."""

    FLOAT = 0
    UINT8 = 9


class Context:
    """An execution context: the shape of one profile, addresses, and ONNX Runtime behind them."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._images, self._addresses = engine, 0, dict[str, int]()
        self._work_memory, self._profile = 0, -1

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self._engine.device_memory_size_v2
        self._work_memory = address

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._profile = profile
        return profile < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._images = shape[0]
        return bool(list(shape) == self._engine.profiles[self._profile])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return self._engine.host.holds(address, 1)

    def execute_async_v3(self, stream: int) -> bool:
        """Enqueue one run."""
        session, size = self._engine.session, self._engine.profiles[0][-1]
        addresses, images, host = dict(self._addresses), self._images, self._engine.host

        def work() -> int:
            if not host.holds(self._work_memory, 1):
                return ILLEGAL_ADDRESS
            pixels = (ctypes.c_ubyte * (images * size * size)).from_address(addresses["image"])
            image_N1SS = np.frombuffer(memoryview(pixels), np.uint8).reshape(images, 1, size, size)
            for name, answer in zip(
                ("logits", "maps"), session.run(["logits", "maps"], {"image": image_N1SS}), strict=True
            ):
                if not host.holds(addresses[name], answer.nbytes):
                    return ILLEGAL_ADDRESS
                ctypes.memmove(addresses[name], answer.tobytes(), answer.nbytes)
            return 0

        host.enqueue(stream, work)
        return True


class Engine:
    """A built engine: an ONNX graph and the shapes of its profiles."""

    device_memory_size_v2 = 4096

    def __init__(self, host: HostCuda, built: bytes) -> None:
        plan = json.loads(built)
        self.host, self.profiles = host, plan["profiles"]
        self.session = ort.InferenceSession(
            base64.b64decode(plan["model"]), providers=["CPUExecutionProvider"]
        )
        self._ports = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors, self.num_optimization_profiles = len(self._ports), len(self.profiles)

    def get_tensor_name(self, index: int) -> str:
        return str(self._ports[index].name)

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if name == "image" else DataType.FLOAT

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> list[int]:
        return _shape(next(port for port in self._ports if port.name == name))

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[list[int]]:
        return [self.profiles[profile]] * 3

    def create_execution_context(self, strategy: object) -> Context:
        return Context(self)


def _shape(port: Any) -> list[int]:
    return [axis if isinstance(axis, int) else -1 for axis in port.shape]


def tensorrt_on(host: HostCuda) -> ModuleType:
    """A module with as much of TensorRT as is used."""

    class Runtime:
        def __init__(self, log: object) -> None: ...

        def deserialize_cuda_engine(self, built: bytes) -> Engine:
            return Engine(host, built)

    class Network:
        model = b""

        def get_input(self, index: int) -> Any:
            session = ort.InferenceSession(self.model, providers=["CPUExecutionProvider"])
            port = session.get_inputs()[index]
            return type("Input", (), {"shape": _shape(port)})

    class Profile:
        def set_shape(self, name: str, least: object, best: tuple[int, ...], most: object) -> None:
            assert least == best == most
            self.shape = best

    class Config:
        progress_monitor: Any = None

        def __init__(self) -> None:
            self.profiles: list[Profile] = []

        def clear_flag(self, flag: object) -> None: ...

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

    class Builder:
        def __init__(self, log: object) -> None: ...

        def create_network(self, flags: int) -> Network:
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes:
            config.progress_monitor.phase_start("Building", None, 1)
            config.progress_monitor.step_complete("Building", 0)
            config.progress_monitor.phase_finish("Building")
            model = base64.b64encode(network.model).decode()
            return json.dumps({"model": model, "profiles": [each.shape for each in config.profiles]}).encode()

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: Network, log: object) -> None:
            self._network = network

        def parse(self, model: bytes) -> bool:
            self._network.model = model
            try:
                self._network.get_input(0)
            except Exception:
                return False
            return True

        def get_error(self, index: int) -> Any:
            return type("Error", (), {"desc": staticmethod(lambda: "no graph")})

    module: Any = ModuleType("tensorrt")
    module.__version__ = "11.4.0.106"
    module.ILogger, module.IProgressMonitor = ILogger, object
    module.TensorIOMode = TensorIOMode
    module.Runtime, module.Builder, module.OnnxParser = Runtime, Builder, OnnxParser
    module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    module.BuilderFlag = SimpleNamespace(TF32=0)
    module.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED=2)
    found: ModuleType = module
    return found


@contextmanager
def host_gpus(count: int = 1) -> Iterator[HostCuda]:
    """While the block lasts, this machine has so many GPUs and TensorRT."""
    host = HostCuda()
    _forget_ours()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", tensorrt_on(host))
        patch.setattr(cuda, "runtime", lambda: host)
        patch.setattr(cuda, "device_count", lambda: count)
        patch.setattr(cuda, "device_name", lambda device: "NVIDIA H200")
        yield host
    _forget_ours()


def _forget_ours() -> None:
    """Make the next import of our engine load it again, with the TensorRT of that time."""
    for name in ("tensorrt", "tensorrt_build"):
        sys.modules.pop(f"cxrserve.engines.{name}", None)
        vars(engines).pop(name, None)
