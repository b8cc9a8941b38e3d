"""All steps in their order, by the name of their `cxrserve train` command."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from cxrserve.files import write_atomically
from training.fit.hardware import Hardware
from training.stamp import plain
from training.steps.calibrate import Calibrate
from training.steps.checks import check_run
from training.steps.deliver import deliver, deliver_each
from training.steps.evaluate import Evaluate
from training.steps.export import Export
from training.steps.film_check import FilmCheck
from training.steps.fit import all_fits, fit_all, under_torchrun
from training.steps.lock import alone_in
from training.steps.prepare import prepare
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.stack import Stack
from training.steps.step import Step, StepError, do

AFTER_FIT: Final[tuple[Step[Any], ...]] = (
    Stack(),
    Calibrate(),
    FilmCheck(),
    Export(),
    Evaluate(),
)


def all_steps(run: Run) -> list[tuple[Step[Any], Trial]]:
    """Every step of every trial in the order in which they are done, after `prepare` and before delivery."""
    return [*all_fits(run), *((step, trial) for step in AFTER_FIT for trial in run.trials)]


def _each_trial(step: Step[Any]) -> Callable[[Run, Progress], None]:
    def do_all(run: Run, progress: Progress) -> None:
        for trial in run.trials:
            do(step, run, trial, progress)

    return do_all


def _evaluate(run: Run, progress: Progress) -> None:
    _each_trial(Evaluate())(run, progress)
    deliver(run, progress)
    if run.each_fold:
        deliver_each(run, progress)


COMMANDS: Final[dict[str, Callable[[Run, Progress], object]]] = {
    "prepare": prepare,
    "fit": fit_all,
    **{step.command: _each_trial(step) for step in (Stack(), Calibrate(), FilmCheck(), Export())},
    "evaluate": _evaluate,
}


def run_command(name: str, run: Run, progress: Progress) -> None:
    """Do one step of all trials, as far as it is not done.

    Raises:
        DatasetError: the data cannot be used.
        FitError: a fit cannot go on.
        WeightsMissing: the weights that the networks start from are not here.
        StepError: an earlier step has not been done, the step cannot run under torchrun, or another run uses
            the work folder.
    """
    if under_torchrun() and name != "fit":
        raise StepError(
            f"torchrun runs the step `fit` alone, not `{name}`: prepare first, fit under torchrun, then "
            "the rest"
        )
    if Hardware.here().process:
        COMMANDS[name](run, progress)  # the first process holds the folder for all
        return
    with alone_in(run.work):
        if name == "prepare":
            check_run(run, progress)
        write_atomically(run.work / "recipe.json", json.dumps(plain(run.recipe), indent=1) + "\n")
        COMMANDS[name](run, progress)
