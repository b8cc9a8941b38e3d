"""The step `calibrate`: what becomes of the stack's probabilities, and the operating points.

Calibration is the identity for now; its place is here, between the stack and the export.
"""

from __future__ import annotations

import json

import numpy as np

from cxrserve.ensemble.bundle import OperatingPoint
from cxrserve.ensemble.stack import stacked
from training.calibration import CALIBRATION, calibrated, operating_points
from training.recipes import PhantomData
from training.steps.prepare import StepError
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.stack import read_stack
from training.steps.stamp import Stamp, file_sha256, key_of, read_stamp, replaced, why_not_done, write_stamp

STAMP, CALIBRATED = "stamp.json", "calibration.json"


def calibrate_inputs(run: Run, trial: Trial) -> dict[str, object]:
    """What the step depends on."""
    return {"stack": read_stack(run, trial)[1].sha256, "calibration": CALIBRATION}


def why_not_calibrated(run: Run, trial: Trial) -> str | None:
    """Why the step is to be done; None if it is."""
    folder = run.folder(trial, "calibrate")
    return why_not_done(folder / STAMP, folder, *key_of(calibrate_inputs(run, trial)))


def calibrate(run: Run, progress: Progress) -> None:
    """Choose the operating points that are not chosen yet, on the validation data.

    Raises:
        StepError: a stack is not fitted.
    """
    for trial in run.trials:
        if not why_not_calibrated(run, trial):
            continue
        folder = run.folder(trial, "calibrate")
        key, inputs = key_of(calibrate_inputs(run, trial))
        found, _ = read_stack(run, trial)
        probabilities_NF = calibrated(stacked(found.logits_NFS, found.weights_FS))
        points = operating_points(
            np.asarray(probabilities_NF), found.labels_NF, validation_name(run), found.known
        )
        said = {
            "calibration": CALIBRATION,
            "operating_points": {name: point.model_dump() for name, point in points.items()},
        }
        (folder / STAMP).unlink(missing_ok=True)
        with replaced(folder / CALIBRATED) as part:
            part.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        outputs = {CALIBRATED: file_sha256(folder / CALIBRATED)}
        write_stamp(
            folder / STAMP, Stamp(step=f"{trial.name}/calibrate", key=key, inputs=inputs, outputs=outputs)
        )
        progress.say(f"{trial.name}: calibration {CALIBRATION}, {len(points)} operating points")


def validation_name(run: Run) -> str:
    """What the validation data consists of, in words."""
    if isinstance(run.recipe.data, PhantomData):
        return "validation phantoms"
    return f"validation {run.recipe.data.unit.kind}"


def read_operating_points(run: Run, trial: Trial) -> tuple[dict[str, OperatingPoint], Stamp]:
    """What the step left.

    Raises:
        StepError: it has not been done.
    """
    folder = run.folder(trial, "calibrate")
    stamp = read_stamp(folder / STAMP)
    if stamp is None or why_not_calibrated(run, trial):
        raise StepError(f"{trial.name}: no operating points of this stack; run `calibrate` first")
    said = json.loads((folder / CALIBRATED).read_text(encoding="utf-8"))
    points = said["operating_points"]
    return {name: OperatingPoint.model_validate(point) for name, point in points.items()}, stamp
