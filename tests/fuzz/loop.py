"""The loop of the fuzz: generated objects through one target, with the cost of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.fuzz.costs import cost_of, cpu_of
from tests.fuzz.structures import Maker

MAX_CPU_S: Final = 0.5
MAX_BYTES: Final = 64 * 2**20
SIZES: Final = (1_000, 20_000, 300_000, 2**20)
_MEMORY_EVERY: Final = 16  # objects: tracing is slow
_REPEATS: Final = 3  # of a costly call: another process may have disturbed it


@dataclass(kw_only=True, slots=True)
class Findings:
    """The result of a run with one target.

    Attributes:
        failures: one sentence for each object that cost too much or raised a foreign error, with its seed.
    """

    objects: int
    input_bytes: int
    worst_cpu_s: float
    worst_peak_bytes: int
    failures: list[str]


def fuzz(target: Callable[[bytes], object], *, seconds: float, seed: int, objects: int = 8) -> Findings:
    """Run `target` on generated objects for `seconds`, and at least on `objects` of them."""
    findings = Findings(objects=0, input_bytes=0, worst_cpu_s=0.0, worst_peak_bytes=0, failures=[])
    until = time.monotonic() + seconds
    while time.monotonic() < until or findings.objects < objects:
        size = SIZES[findings.objects % len(SIZES)]
        seed += 1
        data = Maker(seed, max_bytes=size).part10()
        findings.objects += 1
        findings.input_bytes += len(data)
        try:
            _measure(target, data, findings, f"seed {seed}, size {size}, {len(data)} bytes")
        except Exception as error:
            findings.failures.append(f"seed {seed}, size {size}: {type(error).__name__}")
    return findings


def _measure(target: Callable[[bytes], object], data: bytes, findings: Findings, name: str) -> None:
    cpu_s = cpu_of(target, data)
    if cpu_s >= MAX_CPU_S:
        cpu_s = min(cpu_of(target, data) for _ in range(_REPEATS))
    findings.worst_cpu_s = max(findings.worst_cpu_s, cpu_s)
    if cpu_s >= MAX_CPU_S:
        findings.failures.append(f"{name}: {cpu_s:.2f} s of CPU")
    if findings.objects % _MEMORY_EVERY == len(SIZES):
        peak = cost_of(target, data).peak_bytes - len(data)
        findings.worst_peak_bytes = max(findings.worst_peak_bytes, peak)
        if peak > MAX_BYTES:
            findings.failures.append(f"{name}: {peak / 2**20:.0f} MiB beyond its size")
