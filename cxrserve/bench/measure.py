"""The whole measurement: cold start, one request at a time, saturation, and levels of open-loop load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cxrserve.bench.load import REFUSED, Client, Level, Spacing, closed_loop, open_loop
from cxrserve.bench.service import Started, resident_mib
from cxrserve.bench.stages import Stage, between, read_stages
from cxrserve.errors import RequestError

# Clients of the closed loops that look for saturation: enough that no engine waits for a client.
_SATURATING: Final = 4
_ALONE_REQUESTS_S: Final = 8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The measurements to make.

    Attributes:
        shares: levels of load in percent of the capacity found.
        seconds: of each level.
    """

    shares: tuple[int, ...] = (25, 50, 75, 100, 200)
    seconds: float = 30.0
    path: str = "/predict?heatmaps=none"
    spacing: Spacing = "poisson"


@dataclass(kw_only=True, slots=True)
class Measured:
    """Result of the measurements of one service.

    Attributes:
        stages: of our own services, where the time went while it was saturated.
        levels: by percent of its capacity.
        resident_mib: memory of all its processes, added up.
    """

    name: str
    ready_s: float | None
    sequential: Level
    saturated: Level
    stages: dict[str, Stage] = field(default_factory=dict)
    levels: dict[int, Level] = field(default_factory=dict)
    resident_mib: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The figures, seconds and images a second; latencies count from when a request was due."""
        return {
            "name": self.name,
            "ready_s": self.ready_s,
            "resident_mib": self.resident_mib,
            "alone": level_json(self.sequential),
            "saturated": level_json(self.saturated),
            "stages": {
                stage: {"runs": part.runs, "mean_s": part.mean_s, "images_per_s": part.images_per_s}
                for stage, part in self.stages.items()
            },
            "levels": {str(share): level_json(level) for share, level in self.levels.items()},
        }


def level_json(level: Level) -> dict[str, Any]:
    """The figures of one level."""
    return {
        "asked_rate": level.asked_rate,
        "rate": level.rate,
        "seconds": level.seconds,
        "statuses": level.statuses,
        "p50_s": level.percentile(50),
        "p95_s": level.percentile(95),
        "p99_s": level.percentile(99),
        "refused_share": level.refused_share,
        "refused_p50_s": level.percentile(50, status=REFUSED),
        "refused_p99_s": level.percentile(99, status=REFUSED),
        "sent_late_p99_s": sorted(request.late_s for request in level.sent)[int(0.99 * len(level.sent))]
        if level.sent
        else None,
    }


def films_of(paths: Sequence[Path]) -> list[Path]:
    """Every film in `paths`, folders with the films in them.

    Raises:
        RequestError: there is none.
    """
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    images = [file for file in files if file.suffix.lower() in {".dcm", ".jpg", ".jpeg", ".png", ""}]
    if not images:
        raise RequestError(f"no DICOM, JPEG or PNG file in {', '.join(map(str, paths))}.")
    return images


def measure(
    service: Started, name: str, images: Sequence[bytes], plan: Plan, on_part: Callable[[str, float], None]
) -> Measured:
    """Measure a service that is ready.

    Args:
        on_part: called before each part with its name and the seconds it will take.

    Raises:
        RequestError: it refuses these films; nothing about its speed can be said then.
    """
    with Client(service.url, plan.path) as client:
        return _measure(client, service, name, images, plan, on_part)


def _measure(
    client: Client,
    service: Started,
    name: str,
    images: Sequence[bytes],
    plan: Plan,
    on_part: Callable[[str, float], None],
) -> Measured:
    if (status := client.post(images[0])) != 200:
        raise RequestError(f"{name} answers {status} to the first film: only answers of 200 can be timed.")
    on_part(f"{name}: one at a time", _ALONE_REQUESTS_S)
    sequential = closed_loop(client, images, clients=1, seconds=_ALONE_REQUESTS_S)
    on_part(f"{name}: saturated", plan.seconds)
    before = read_stages(service.url)
    measured = Measured(
        name=name,
        ready_s=service.ready_s,
        sequential=sequential,
        saturated=closed_loop(client, images, clients=_SATURATING, seconds=plan.seconds),
    )
    measured.stages = between(before, read_stages(service.url))
    capacity = measured.saturated.rate
    for share in plan.shares:
        on_part(f"{name}: {share} % of {capacity:.2f} images/s", plan.seconds)
        rate = capacity * share / 100
        measured.levels[share] = open_loop(
            client, images, rate=rate, seconds=plan.seconds, spacing=plan.spacing, seed=share
        )
    measured.resident_mib = resident_mib(service.pid) if service.pid else None
    return measured


def bare_engine(bundle: Path, image: Path, seconds: float) -> dict[str, float]:
    """Images a second of the engines alone, in a process of its own."""
    command = [sys.executable, "-m", "cxrserve.bench.bare", str(bundle), str(seconds), str(image)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 (ourselves)
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures
