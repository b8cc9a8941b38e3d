"""Table of the measurements for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from cxrserve.bench.load import REFUSED, Level
from cxrserve.bench.measure import Measured


def overview(measured: Sequence[Measured], bare: dict[str, float] | None) -> Table:
    """One row a service: ready, one at a time, saturated, memory."""
    table = Table(header_style="dim")
    for heading in ("service", "ready", "one at a time", "saturated", "of the bare engines", "memory"):
        table.add_column(heading, justify="left" if heading == "service" else "right")
    for service in measured:
        rate = service.saturated.rate
        table.add_row(
            service.name,
            "–" if service.ready_s is None else f"{service.ready_s:.1f} s",
            _seconds(service.sequential.percentile(50)),
            f"{rate:.2f} images/s",
            f"{100 * rate / bare['images_per_s']:.0f} %" if bare else "–",
            "–" if service.resident_mib is None else f"{service.resident_mib:.0f} MiB",
        )
    return table


def levels(measured: Measured) -> Table:
    """One row a level of load: asked, answered, p50, p95, p99; the share that got 503, and how fast."""
    table = Table(header_style="dim", title=measured.name, title_justify="left", padding=0)
    headings = ["load", "asked/s", "answered/s", "p50", "p95", "p99", "refused", "503 p50", "503 p99"]
    has_other_statuses = any(_others(level) for level in measured.levels.values())
    for heading in [*headings, *(["else"] if has_other_statuses else [])]:
        table.add_column(heading, justify="right", no_wrap=True)
    for share, level in measured.levels.items():
        table.add_row(
            f"{share} %",
            f"{level.asked_rate:.2f}",
            f"{level.rate:.2f}",
            *_latencies(level),
            *([_others(level) or "none"] if has_other_statuses else []),
        )
    return table


def stages(measured: Measured) -> Table:
    """One row a stage, while saturated: time of one run, and the images a second of one worker in it."""
    table = Table(
        header_style="dim", title=f"{measured.name}, saturated", title_justify="left", padding=(0, 1)
    )
    for heading in ("stage", "runs", "one takes", "images/s"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage, part in measured.stages.items():
        table.add_row(stage, f"{part.runs:.0f}", _seconds(part.mean_s), f"{part.images_per_s:.2f}")
    return table


def _latencies(level: Level) -> list[str]:
    return [
        *(_seconds(level.percentile(percent)) for percent in (50, 95, 99)),
        f"{100 * level.refused_share:.0f} %" if REFUSED in level.statuses else "none",
        *(_seconds(level.percentile(percent, status=REFUSED)) for percent in (50, 99)),
    ]


def _others(level: Level) -> str:
    """Requests that were neither answered nor refused with 503."""
    return ", ".join(
        f"{count} × {status or 'cut off'}"
        for status, count in level.statuses.items()
        if status not in (200, REFUSED)
    )


def _seconds(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
