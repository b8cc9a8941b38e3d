"""Time of an image by stage, from the Prometheus metrics of the service."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_STAGES: Final = "cxrserve_stage_seconds"
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage over some time: how often it ran, and how long all of its runs took together."""

    runs: float
    seconds: float

    @property
    def mean_s(self) -> float:
        """Seconds of one run."""
        return self.seconds / self.runs

    @property
    def images_per_s(self) -> float:
        """Images per second of one worker that runs this stage alone."""
        return self.runs / self.seconds


def read_stages(url: str) -> dict[str, Stage]:
    """Read the stage times of the service at `url`, by stage; empty if it has no such metrics."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=_TIMEOUT_S) as answer:  # noqa: S310 (http)
            families = list(text_string_to_metric_families(answer.read().decode()))
    except (urllib.error.URLError, OSError, ValueError):
        return {}
    values_by_stage: dict[str, dict[str, float]] = {}
    for family in families:
        if family.name == _STAGES:
            for sample in family.samples:
                if "le" not in sample.labels:
                    values_by_stage.setdefault(sample.labels["stage"], {})[sample.name] = sample.value
    return {
        stage: Stage(values[f"{_STAGES}_count"], values[f"{_STAGES}_sum"])
        for stage, values in values_by_stage.items()
    }


def between(before: dict[str, Stage], after: dict[str, Stage]) -> dict[str, Stage]:
    """Runs and time of each stage between two readings, in the order of `after`."""
    nothing = Stage(0, 0)
    parts = {
        stage: Stage(
            total.runs - before.get(stage, nothing).runs, total.seconds - before.get(stage, nothing).seconds
        )
        for stage, total in after.items()
    }
    return {stage: part for stage, part in parts.items() if part.runs > 0 and part.seconds > 0}
