"""Measures the work that triage saves on images, and how often its decisions differ from the full ensemble's.

    python -m tests.benchmarks.triage FOLDER…

Every image that can be read is scored by the full ensemble; then `Triage` decides it under both guarantees,
for all findings at once and for each alone. The output also has the bundle's own record on the images it was
checked on. Images unlike those of the calibration have no guarantee: the counts hold for these images only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from cxrserve.bundle.triage_calibration import TriageCheck
from cxrserve.ensemble.predictor import Predictor
from cxrserve.settings import Settings
from training.triage.check import check_triage
from training.triage.images import show_checks
from training.triage.logits import of_films


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", type=Path, nargs="+", help="films; files and folders")
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--epsilon", type=float, default=0.001)
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    asked = parser.parse_args()
    predictor = Predictor.open(Settings(bundle=asked.bundle))
    early = predictor.bundle.contract.triage
    if early is None:
        parser.error(f"{asked.bundle} has no early decisions; cxrserve models triage calibrates them")
    console = Console(width=120)
    logits_ANFS = of_films(asked.films, [predictor], Console(stderr=True))
    found = check_triage(
        early,
        logits_ANFS,
        predictor.weights_FS,
        predictor.score_thresholds_F,
        predictor.sizes,
        data=f"{logits_ANFS.shape[1]} films",
        epsilon=asked.epsilon,
    )
    show_checks(found, console)
    figures = {
        "date": datetime.now(UTC).date().isoformat(),
        "bundle": f"{predictor.bundle.contract.name} {predictor.bundle.contract.version}",
        "bundle_sha256": predictor.bundle.sha256,
        "arithmetic": str(predictor.arithmetic),
        "calibrated": {"data": early.data, "on": [str(each) for each in early.arithmetics]},
        "films": summary(found),
        "recorded": summary(early.checked),
        "films_checks": [check.model_dump(mode="json") for check in found],
        "recorded_checks": [check.model_dump(mode="json") for check in early.checked],
    }
    for where in ("films", "recorded"):
        console.print_json(json.dumps({where: figures[where]}))
    if asked.output:
        asked.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def summary(checks: Sequence[TriageCheck]) -> dict[str, dict[str, float | int | str]]:
    """By guarantee: the work for all findings at once, and for one, on average over the findings."""
    said: dict[str, dict[str, float | int | str]] = {}
    for guarantee in dict.fromkeys(check.guarantee for check in checks):
        of_it = [check for check in checks if check.guarantee == guarantee]
        (together,) = (check for check in of_it if check.findings == "all")
        alone = [check for check in of_it if check.findings != "all"]
        said[guarantee] = {
            "data": together.data,
            "all: mean work": together.work,
            "all: worst work": together.work_worst,
            "all: images that differ": together.differing,
            "one: mean work over findings": round(sum(check.work for check in alone) / len(alone), 4),
            "one: most mean work": max(check.work for check in alone),
            "one: worst work": max(check.work_worst for check in alone),
            "one: findings above 40 % on average": sum(check.work > 0.4 for check in alone),
            "one: decisions that differ": sum(check.differing for check in alone),
            "one: decisions": sum(check.images for check in alone),
        }
    return said


if __name__ == "__main__":
    main()
