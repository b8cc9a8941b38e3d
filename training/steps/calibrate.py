"""The step `calibrate`: calibration of the stack's probabilities, and the operating points.

Calibration is the identity for now; its place is here, between the stack and the export.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.ensemble.stack import stacked
from training.recipes import PhantomData
from training.steps.calibration import CALIBRATION, calibrated, operating_points
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.stack import Stack
from training.steps.step import Done, label, result_of, stamp_of

FILE: Final = "calibration.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrate:
    """The step; its result is the operating points, by finding."""

    name: str = "calibrate"
    command: str = "calibrate"

    def inputs(self, run: Run, trial: Trial) -> dict[str, object]:
        """Everything that the step depends on."""
        return {"stack": stamp_of(Stack(), run, trial).sha256, "calibration": CALIBRATION}

    def run(self, run: Run, trial: Trial, folder: Path, progress: Progress) -> Done:
        """Choose the operating points on the validation data."""
        stack = result_of(Stack(), run, trial)
        probabilities_NF = calibrated(stacked(stack.logits_NFS, stack.weights_FS))
        points = operating_points(
            np.asarray(probabilities_NF), stack.labels_NF, validation_name(run), stack.known
        )
        content = {
            "calibration": CALIBRATION,
            "operating_points": {name: point.model_dump() for name, point in points.items()},
        }
        (folder / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        progress.say(f"{label(self, trial)}: {CALIBRATION}, {len(points)} operating points")
        return Done(files=(FILE,))

    def load(self, folder: Path) -> dict[str, OperatingPoint]:
        """Read the operating points."""
        points = json.loads((folder / FILE).read_text(encoding="utf-8"))["operating_points"]
        return {name: OperatingPoint.model_validate(point) for name, point in points.items()}


def validation_name(run: Run) -> str:
    """The validation data in words."""
    if isinstance(run.recipe.data, PhantomData):
        return "validation phantoms"
    return f"validation {run.recipe.data.sample_unit.kind}"
