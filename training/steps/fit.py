"""The step `fit`: the network of one size. `fit_all` runs the fits of all trials.

On a GPU one after the other. Without one, several at once, each in a process with its share of the cores:
two threads in one fit wait for each other at every layer. Under torchrun every process runs this step, and
each fit is shared among them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from training.fit.hardware import Hardware
from training.fit.member import fit_member
from training.fit.phases import phases_of
from training.fit.result import Epoch
from training.stamp import Stamp
from training.steps.networks import new_network, start_of
from training.steps.parallel import Task, run_tasks
from training.steps.prepare import data_inputs, open_part
from training.steps.progress import Progress, Silent
from training.steps.run import Run, Trial
from training.steps.step import Done, begin, do, finish, folder_of, label, stamp_of, why_not_done


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Fit of the network of `size`; its result is the file of its weights."""

    size: int
    command: str = "fit"

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"fit_{self.size}"

    def inputs(self, run: Run, trial: Trial) -> dict[str, object]:
        """Everything that the fit depends on.

        Raises:
            WeightsMissing: the weights that it starts from are not on this machine.
        """
        recipe = run.recipe
        return {
            "data": data_inputs(run, trial.fold),
            "network": [recipe.architecture, recipe.head],
            "weights": start_of(recipe),
            "fit": recipe.fits[self.size],
            "unit": recipe.data.sample_unit,
            "size": self.size,
            "seed": trial.seed,
        }

    def run(self, run: Run, trial: Trial, folder: Path, progress: Progress) -> Done:
        """Fit the network, or continue a fit that was killed.

        Raises:
            FitError, ValueError: it cannot be fitted so.
        """
        recipe = run.recipe
        if torch.cuda.is_available():
            # Several fits may run in this process, the largest first.
            torch.cuda.reset_peak_memory_stats()
        network = new_network(recipe, self.size, trial.seed)
        bar = progress.bar(
            label(self, trial), sum(phase.epochs for phase in phases_of(recipe.fits[self.size]))
        )

        def show(epoch: Epoch) -> None:
            bar.update(
                epoch.number + 1, f"{_losses(epoch)}, {epoch.images_per_second:.3g} images/s", epoch.total
            )

        result = fit_member(
            network,
            open_part(run, trial.fold, "train"),
            open_part(run, trial.fold, "validate"),
            self.size,
            recipe.fits[self.size],
            folder=folder,
            seed=trial.seed,
            unit=recipe.data.sample_unit,
            on_epoch=show,
        )
        last, fit, processes = result.epochs[-1], recipe.fits[self.size], Hardware.here().processes
        stop_note = ", stopped early" if result.stopped_early else ""
        progress.say(
            f"{label(self, trial)}: {len(result.epochs)} epochs{stop_note}, kept {result.kept_epoch}, "
            f"{last.seconds:.0f} s"
        )
        summary = {
            "batch": fit.batch * fit.accumulate * processes,
            "learning_rate": phases_of(fit)[-1].peak(fit.reference_batch, processes),
            "epochs": len(result.epochs),
            "kept": result.kept_epoch,
            "stopped_early": result.stopped_early,
            "seconds": round(last.seconds, 1),
            "images_per_second": last.images_per_second,
            "image_loss": last.image_loss,
            "validation_loss": last.validation_loss,
            "device": torch.cuda.get_device_name()
            if torch.cuda.is_available()
            else f"{torch.get_num_threads()} CPU threads",
            "memory_bytes": _peak_memory_bytes(),
        }
        return Done(files=(result.weights.name,), summary=summary)

    def load(self, folder: Path) -> Path:
        """The file of the weights that were kept."""
        from training.fit.fit_state import WEIGHTS

        return folder / WEIGHTS


def fit_stamps(run: Run, trial: Trial) -> dict[int, Stamp]:
    """The stamps of the fits of `trial`, by size, ascending.

    Raises:
        StepError: one is not fitted.
    """
    return {size: stamp_of(Fit(size=size), run, trial) for size in run.recipe.preprocessing.sizes}


def all_fits(run: Run) -> list[tuple[Fit, Trial]]:
    """Every fit of `run`, trial by trial, the largest size first: it takes the longest."""
    sizes = sorted(run.recipe.preprocessing.sizes, reverse=True)
    return [(Fit(size=size), trial) for trial in run.trials for size in sizes]


def fit_all(run: Run, progress: Progress) -> None:
    """Fit what is not fitted yet.

    Raises:
        StepError: the data is not prepared.
        FitError: a fit cannot go on.
    """
    fits = [(fit, trial) for fit, trial in all_fits(run) if why_not_done(fit, run, trial)]
    if under_torchrun():
        if fits:
            _fit_together(run, fits, progress)
    elif torch.cuda.is_available():
        torch.set_num_threads(run.workers)
        for fit, trial in fits:
            do(fit, run, trial, progress)
    else:
        _fit_side_by_side(run, fits, progress)


def under_torchrun() -> bool:
    """True if torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _fit_together(run: Run, fits: list[tuple[Fit, Trial]], progress: Progress) -> None:
    """Fit with the other processes that torchrun started; the first one writes and reports."""
    torch.set_num_threads(run.workers)
    hardware = Hardware.here()
    first = hardware.process == 0
    hardware.join()
    try:
        for fit, trial in fits:
            if first:
                begin(fit, run, trial)
            # Nobody looks for a state to go on from before the first process has chosen the folder.
            hardware.wait_for_all()
            folder = folder_of(fit, run, trial)
            outcome = fit.run(run, trial, folder, progress if first else Silent())
            if first:
                finish(fit, run, trial, folder, outcome)
            hardware.wait_for_all()
    finally:
        hardware.part()


def _fit_side_by_side(run: Run, fits: list[tuple[Fit, Trial]], progress: Progress) -> None:
    at_once = min(run.workers, len(all_fits(run)))
    # Of what the whole run could do at once: a resumed run must not count its threads otherwise, as the last
    # digits of a sum depend on them.
    threads = max(1, run.workers // at_once)
    tasks = [Task(function=_fit_in_process, arguments=(fit, run, trial, threads)) for fit, trial in fits]
    run_tasks(tasks, at_once, progress)


def _fit_in_process(fit: Fit, run: Run, trial: Trial, threads: int, progress: Progress) -> None:
    torch.set_num_threads(threads)
    do(fit, run, trial, progress)


def _peak_memory_bytes() -> int:
    """Of the GPU, where there is one, since the fit began; of this process else, which does one fit alone."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _losses(epoch: Epoch) -> str:
    losses = {
        "loss": epoch.image_loss,
        "on cells": epoch.location_loss,
        "validation": epoch.validation_loss,
        "AUC": epoch.validation_auc,
    }
    return ", ".join(f"{name} {value:.4f}" for name, value in losses.items() if value is not None)
