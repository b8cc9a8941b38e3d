"""The cost of one call: CPU seconds, and bytes at its peak."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple


class Cost(NamedTuple):
    """The cost of one call."""

    cpu_s: float
    peak_bytes: int


def cpu_of(target: Callable[[bytes], object], data: bytes) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    target(data)
    return time.process_time() - started


def cost_of(target: Callable[[bytes], object], data: bytes) -> Cost:
    """CPU seconds of one call, and the peak of its memory in another, since tracing is slow."""
    cpu_s = cpu_of(target, data)
    tracemalloc.start()
    try:
        target(data)
        return Cost(cpu_s, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
