"""The little of the CUDA runtime that an engine needs: memory, a stream, a recorded graph.

Through ctypes, from the library that TensorRT's wheels bring: no further package, and nothing is loaded on a
machine without a GPU. Not run on a GPU yet: written from NVIDIA's documentation of the runtime API.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from cxrserve.errors import EngineError, EngineLost

_LIBRARIES: Final = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")
_WHEELS: Final = ("nvidia/cu13/lib", "nvidia/cuda_runtime/lib")
_TO_DEVICE, _TO_HOST = 1, 2
_CAPTURE_THREAD_LOCAL: Final = 1
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor, …Minor
_OUT_OF_MEMORY: Final = 2
# "This leaves the process in an inconsistent state and any further CUDA work will return the same error. To
# continue using CUDA, the process must be terminated and relaunched" (driver_types.h), and errors of the
# hardware: ECC, NVLink, contained, illegal address, timeout, context destroyed, assert, stack, instruction,
# alignment, address space, program counter, launch, tensor memory.
_FOR_GOOD: Final = frozenset({214, 220, 226, 700, 702, 709, 710, *range(714, 720), 721})
_DRIVER_FILE: Final = Path("/proc/driver/nvidia/version")


def device_count(library: str = "libcuda.so.1") -> int:
    """GPUs that this process may use; 0 without a driver."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def driver_version(file: Path = _DRIVER_FILE) -> str:
    """The kernel driver's version, as "580.65.06"; "unknown" where the system does not say."""
    try:
        match = re.search(r"\b\d+\.\d+(\.\d+)?\b", file.read_text())
    except OSError:
        return "unknown"
    return match.group() if match else "unknown"


@cache
def runtime() -> ctypes.CDLL:
    """The CUDA runtime library.

    Raises:
        EngineError: it is not installed.
    """
    spec = find_spec("nvidia")
    roots = [Path(location).parent for location in (spec.submodule_search_locations or ())] if spec else []
    paths = [str(root / folder / name) for root in roots for folder in _WHEELS for name in _LIBRARIES]
    for path in (*paths, *_LIBRARIES):
        with suppress(OSError):
            library = ctypes.CDLL(path)
            library.cudaGetErrorString.restype = ctypes.c_char_p
            return library
    raise EngineError('the CUDA runtime (libcudart) is not installed: pip install "cxrserve[gpu]"')


def call(name: str, *arguments: Any) -> None:
    """Call a function of the runtime.

    Raises:
        EngineError: it did not succeed; says why in CUDA's words, and what to do where that is known.
    """
    library = runtime()
    check(name, getattr(library, name)(*arguments), lambda code: library.cudaGetErrorString(code).decode())


def check(name: str, code: int, describe: Callable[[int], str]) -> None:
    """Raise where `code`, which the function `name` returned, is not success.

    Raises:
        EngineLost: the GPU will not work for this process any more.
        EngineError: everything else.
    """
    if code == 0:
        return
    if code in _FOR_GOOD:
        raise EngineLost(
            f"the GPU failed in {name}: {describe(code)} (CUDA error {code}). It does nothing more for this "
            "process: the service ends, and is to be started again."
        )
    advice = "; use fewer members on this GPU, or a smaller CXRSERVE_BATCH_PIXELS" * (code == _OUT_OF_MEMORY)
    raise EngineError(f"the GPU refused {name}: {describe(code)} (CUDA error {code}){advice}")


def architecture(device: int) -> str:
    """The GPU's compute capability, as "sm_90"."""
    values = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        call("cudaDeviceGetAttribute", ctypes.byref(value), attribute, device)
        values.append(value.value)
    return f"sm_{values[0]}{values[1]}"


def device_name(device: int) -> str:
    """The GPU's name, as "NVIDIA H200".

    Raises:
        EngineError: there is no such device.
    """
    driver = ctypes.CDLL("libcuda.so.1")
    name, handle = ctypes.create_string_buffer(256), ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(handle), device) or driver.cuDeviceGetName(name, 256, handle):
        raise EngineError(f"there is no GPU number {device}")
    return name.value.decode()


def use(device: int) -> None:
    """Let this thread's calls go to `device`."""
    call("cudaSetDevice", device)


def device_memory(size: int) -> int:
    """Address of `size` new bytes on the GPU, until `free_device`."""
    address = ctypes.c_void_p()
    call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
    return address.value or 0


def pinned_memory(size: int) -> ctypes.Array[ctypes.c_ubyte]:
    """`size` bytes of page-locked memory, until `free_pinned`; the GPU copies from and to it directly."""
    address = ctypes.c_void_p()
    call("cudaHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(0))
    return (ctypes.c_ubyte * size).from_address(address.value or 0)


def free_device(address: int) -> None:
    """Give back what `device_memory` gave."""
    call("cudaFree", ctypes.c_void_p(address))


def free_pinned(memory: ctypes.Array[ctypes.c_ubyte]) -> None:
    """Give back what `pinned_memory` gave; nothing may look at it any more."""
    call("cudaFreeHost", ctypes.c_void_p(ctypes.addressof(memory)))


class Stream:
    """Work that a GPU does in order, and recordings of it."""

    def __init__(self) -> None:
        stream = ctypes.c_void_p()
        call("cudaStreamCreateWithFlags", ctypes.byref(stream), ctypes.c_uint(1))  # not the default stream's
        self.handle: Final = stream.value or 0

    def to_device(self, device: int, host: ctypes.Array[ctypes.c_ubyte], size: int) -> None:
        """Enqueue a copy of the first `size` bytes of `host`."""
        self._copy(device, ctypes.addressof(host), size, _TO_DEVICE)

    def to_host(self, host: ctypes.Array[ctypes.c_ubyte], device: int, size: int) -> None:
        """Enqueue a copy of `size` bytes at `device` to the start of `host`."""
        self._copy(ctypes.addressof(host), device, size, _TO_HOST)

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        arguments = ctypes.c_void_p(target), ctypes.c_void_p(source), ctypes.c_size_t(size)
        call("cudaMemcpyAsync", *arguments, kind, ctypes.c_void_p(self.handle))

    def wait(self) -> None:
        """Wait until all that was enqueued is done."""
        call("cudaStreamSynchronize", ctypes.c_void_p(self.handle))

    def record(self, work: Callable[[], None]) -> ctypes.c_void_p:
        """Record the calls that `work` enqueues as a graph for `replay`, without running them."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        call("cudaStreamBeginCapture", ctypes.c_void_p(self.handle), _CAPTURE_THREAD_LOCAL)
        try:
            work()
        finally:
            call("cudaStreamEndCapture", ctypes.c_void_p(self.handle), ctypes.byref(graph))
        call("cudaGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        call("cudaGraphDestroy", graph)
        return executable

    def replay(self, executable: ctypes.c_void_p) -> None:
        """Enqueue a recording: one call instead of one for each kernel."""
        call("cudaGraphLaunch", executable, ctypes.c_void_p(self.handle))

    def forget(self, executable: ctypes.c_void_p) -> None:
        """Give a recording back."""
        call("cudaGraphExecDestroy", executable)

    def close(self) -> None:
        """Give the stream back, after what it has to do."""
        self.wait()
        call("cudaStreamDestroy", ctypes.c_void_p(self.handle))
