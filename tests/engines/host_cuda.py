"""CUDA's runtime on host memory, as our side sees it: what is asked is checked, nothing is computed on a GPU.

Every copy must lie within memory that is held, and work on a stream runs when it is waited for, no sooner.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from typing import Any

ILLEGAL_ADDRESS = 700
Work = Callable[[], int]


def _value(argument: Any) -> int:
    return int(getattr(argument, "value", argument) or 0)


class HostCuda:
    """The functions of libcudart that are called, on host memory.

    Attributes:
        memory: what is held, by address; device and pinned alike.
        recordings: graphs that can be launched.
        error: what every call answers with, from when it is set on.
    """

    def __init__(self) -> None:
        self.memory: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.streams: dict[int, list[Work]] = {}
        self.recordings: dict[int, list[Work]] = {}
        self.error = 0
        self._capturing: dict[int, list[Work]] = {}
        self._graphs: dict[int, list[Work]] = {}
        self._handles = itertools.count(1)

    def __getattr__(self, name: str) -> Callable[..., int]:
        work: Callable[..., int] = getattr(type(self), "_" + name.removeprefix("cuda"))
        return lambda *arguments: self.error or work(self, *arguments)

    def cudaGetErrorString(self, code: int) -> bytes:
        return f"error {code}".encode()

    def holds(self, address: int, size: int) -> bool:
        """True where all of it lies in memory that is held."""
        return any(
            start <= address and address + size <= start + len(all_) for start, all_ in self.memory.items()
        )

    def enqueue(self, stream: int, work: Work) -> None:
        """Work for a stream, or for the recording that is being made of it."""
        self._capturing.get(stream, self.streams[stream]).append(work)

    def _SetDevice(self, device: int) -> int:
        return 0

    def _DeviceGetAttribute(self, out: Any, attribute: int, device: int) -> int:
        out._obj.value = 9 if attribute == 75 else 0
        return 0

    def _Malloc(self, out: Any, size: Any) -> int:
        memory = ctypes.create_string_buffer(_value(size))
        out._obj.value = ctypes.addressof(memory)
        self.memory[ctypes.addressof(memory)] = memory
        return 0

    def _HostAlloc(self, out: Any, size: Any, flags: Any) -> int:
        return self._Malloc(out, size)

    def _Free(self, address: Any) -> int:
        return 0 if self.memory.pop(_value(address), None) is not None else 1

    def _FreeHost(self, address: Any) -> int:
        return self._Free(address)

    def _StreamCreateWithFlags(self, out: Any, flags: Any) -> int:
        out._obj.value = next(self._handles)
        self.streams[out._obj.value] = []
        return 0

    def _StreamDestroy(self, stream: Any) -> int:
        return 0 if self.streams.pop(_value(stream), None) == [] else 1

    def _StreamSynchronize(self, stream: Any) -> int:
        waiting, self.streams[_value(stream)] = self.streams[_value(stream)], []
        return next((code for work in waiting if (code := work())), 0)

    def _MemcpyAsync(self, target: Any, source: Any, size: Any, kind: int, stream: Any) -> int:
        to, from_, count = _value(target), _value(source), _value(size)

        def work() -> int:
            if not (self.holds(to, count) and self.holds(from_, count)):
                return ILLEGAL_ADDRESS
            ctypes.memmove(to, from_, count)
            return 0

        self.enqueue(_value(stream), work)
        return 0

    def _StreamBeginCapture(self, stream: Any, mode: int) -> int:
        self._capturing[_value(stream)] = []
        return 0

    def _StreamEndCapture(self, stream: Any, out: Any) -> int:
        out._obj.value = next(self._handles)
        self._graphs[out._obj.value] = self._capturing.pop(_value(stream))
        return 0

    def _GraphInstantiateWithFlags(self, out: Any, graph: Any, flags: Any) -> int:
        out._obj.value = next(self._handles)
        self.recordings[out._obj.value] = list(self._graphs[_value(graph)])
        return 0

    def _GraphDestroy(self, graph: Any) -> int:
        return 0 if self._graphs.pop(_value(graph), None) is not None else 1

    def _GraphLaunch(self, executable: Any, stream: Any) -> int:
        self.streams[_value(stream)].extend(self.recordings[_value(executable)])
        return 0

    def _GraphExecDestroy(self, executable: Any) -> int:
        return 0 if self.recordings.pop(_value(executable), None) is not None else 1
