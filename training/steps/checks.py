"""Checks before a run: it refuses to start unless it can be what its recipe says."""

from __future__ import annotations

from dataclasses import replace

from training.networks.published import fetch_weights
from training.steps.deliver import check_out, trial_folder
from training.steps.progress import Progress
from training.steps.run import Run
from training.steps.settings import changed_settings, learning_rates


def check_run(run: Run, progress: Progress) -> None:
    """Check what can be checked before any data is read, and say what is unusual.

    Raises:
        WeightsMissing: the weights that the networks start from are neither here nor can be fetched.
        StepError: `--out` holds files of somebody else.
    """
    check_out(run)
    if run.each_fold:
        for trial in run.trials[1:]:
            check_out(replace(run, out=trial_folder(run, trial)))
    path = fetch_weights(run.recipe.architecture, run.recipe.weights)
    if path is not None:
        progress.say(f"{run.recipe.architecture} starts from {path}")
    for setting in changed_settings(run.recipe):
        progress.say(f"not as published: {setting}")
    for setting in learning_rates(run.recipe):
        progress.say(setting)
