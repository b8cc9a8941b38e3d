"""All steps, one after the other: from data on the disk to a bundle that serves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from training.datasets.manifest_files import write_atomically
from training.fit.hardware import Hardware
from training.steps.calibrate import calibrate
from training.steps.evaluate import evaluate
from training.steps.export import export
from training.steps.fit import fit, under_torchrun
from training.steps.lock import alone_in
from training.steps.prepare import StepError, prepare
from training.steps.progress import Progress
from training.steps.run import Run
from training.steps.stack import stack
from training.steps.stamp import plain

STEPS: Final[dict[str, Callable[[Run, Progress], object]]] = {
    "prepare": prepare,
    "fit": fit,
    "stack": stack,
    "calibrate": calibrate,
    "export": export,
    "evaluate": evaluate,
}


def do(name: str, run: Run, progress: Progress) -> None:
    """Do one step, as far as it is not done.

    Raises:
        DatasetError: the data cannot be used.
        StepError: a step before it has not been done, it is no step for several processes, or another run is
            at work.
    """
    if under_torchrun() and name != "fit":
        raise StepError(
            f"torchrun runs the step `fit` alone, not `{name}`: prepare first, fit under torchrun, then "
            "the rest"
        )
    if Hardware.here().process:
        STEPS[name](run, progress)  # the first process holds the folder for all
        return
    with alone_in(run.work):
        write_atomically(run.work / "recipe.json", json.dumps(plain(run.recipe), indent=1) + "\n")
        STEPS[name](run, progress)
