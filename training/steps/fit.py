"""The step `fit`: the network of each size, of each fold and seed.

On a GPU one after the other. Without one, several at once, each in a process with its share of the cores:
two threads in one fit wait for each other at every layer. Under torchrun every process runs this step, and
each fit is shared among them.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from training.children import end_with_parent
from training.fit.hardware import Hardware
from training.fit.member import fit_member
from training.fit.result import Epoch
from training.steps.networks import IMAGENET, SCRATCH, new_network
from training.steps.prepare import data_sha256, open_part
from training.steps.progress import Bar, Progress
from training.steps.run import Run, Trial
from training.steps.stamp import (
    Stamp,
    file_sha256,
    key_of,
    read_stamp,
    remove,
    why_not_done,
    write_stamp,
)

STAMP, STARTED = "stamp.json", "started.json"
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One fit."""

    trial: Trial
    size: int

    @property
    def name(self) -> str:
        return f"fit {self.size}, {self.trial.name.replace('/', ', ').replace('_', ' ')}"


# In a process that fits: where it tells how far it is.
_reports: Queue[tuple[Job, Epoch]] | None = None


def fit(run: Run, progress: Progress) -> None:
    """Fit what is not fitted yet.

    Raises:
        StepError: the data is not prepared.
    """
    jobs = [job for job in all_jobs(run) if why_not_fitted(run, job)]
    if not jobs:
        return
    if under_torchrun():
        _fit_together(run, jobs, progress)
        return
    if torch.cuda.is_available():
        for job in jobs:
            _fit_here(run, job, progress)
        return
    _fit_side_by_side(run, jobs, progress)


def _fit_here(run: Run, job: Job, progress: Progress) -> None:
    bar = progress.bar(job.name, 1)
    fit_one(run, job, threads=run.workers, report=lambda _, epoch: _show(bar, epoch))
    progress.say(_result(run, job))


def _fit_together(run: Run, jobs: list[Job], progress: Progress) -> None:
    """Fit with the other processes that torchrun started; the first one writes and speaks."""
    hardware = Hardware.here()
    hardware.join()
    try:
        for job in jobs:
            if hardware.process == 0:
                _make_room(run, job)
            # What another fit left there must be gone before anybody looks for a state to go on from.
            hardware.wait_for_all()
            if hardware.process == 0:
                _fit_here(run, job, progress)
            else:
                fit_one(run, job, threads=run.workers, report=lambda _, epoch: None)
            hardware.wait_for_all()
    finally:
        hardware.part()


def all_jobs(run: Run) -> list[Job]:
    """Every fit of `run`, trial by trial, the largest size first: it takes the longest."""
    sizes = sorted(run.recipe.preprocessing.sizes, reverse=True)
    return [Job(trial=trial, size=size) for trial in run.trials for size in sizes]


def folder_of(run: Run, job: Job) -> Path:
    return run.folder(job.trial, f"fit_{job.size}")


def fit_inputs(run: Run, job: Job) -> dict[str, object]:
    """What a fit depends on."""
    recipe = run.recipe
    named = recipe.weights not in (IMAGENET, SCRATCH)
    return {
        "data": data_sha256(run, job.trial.fold),
        "network": [recipe.architecture, recipe.head],
        "weights": file_sha256(Path(recipe.weights).expanduser()) if named else recipe.weights,
        "fit": recipe.fits[job.size],
        "unit": recipe.data.unit,
        "size": str(job.size),
        "seed": str(job.trial.seed),
    }


def why_not_fitted(run: Run, job: Job) -> str | None:
    """Why a fit is to be done; None if it is done."""
    folder = folder_of(run, job)
    key, inputs = key_of(fit_inputs(run, job))
    why = why_not_done(folder / STAMP, folder, key, inputs)
    started = read_stamp(folder / STARTED)
    resumed = why and started is not None and started.key == key and not (folder / STAMP).exists()
    return "begun, will be resumed" if resumed else why


def fit_stamps(run: Run, trial: Trial) -> dict[int, Stamp]:
    """The stamps of the fits of `trial`, by size, ascending.

    Raises:
        StepError: one is not fitted.
    """
    from training.steps.prepare import StepError

    stamps = {}
    for size in run.recipe.preprocessing.sizes:
        job = Job(trial=trial, size=size)
        stamp = read_stamp(folder_of(run, job) / STAMP)
        if stamp is None or why_not_fitted(run, job):
            raise StepError(f"{job.name}: {why_not_fitted(run, job)}; run `fit` first")
        stamps[size] = stamp
    return stamps


def under_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def fit_one(run: Run, job: Job, *, threads: int, report: Any) -> None:
    """Fit one network, or go on with it; its stamp comes last."""
    torch.set_num_threads(threads)
    folder, recipe = folder_of(run, job), run.recipe
    first = Hardware.here().process == 0
    if first:
        _make_room(run, job)
    network = new_network(recipe, job.size, job.trial.seed)
    result = fit_member(
        network,
        open_part(run, job.trial.fold, "train"),
        open_part(run, job.trial.fold, "validate"),
        job.size,
        recipe.fits[job.size],
        folder=folder,
        seed=job.trial.seed,
        unit=recipe.data.unit,
        on_epoch=lambda epoch: report(job, epoch),
    )
    if first:
        last = result.epochs[-1]
        said = {
            "epochs": len(result.epochs),
            "kept": result.kept,
            "stopped_early": result.stopped_early,
            "seconds": round(last.seconds, 1),
            "images_per_second": last.images_per_second,
            "image_loss": last.image_loss,
            "validation_loss": last.validation_loss,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{threads} CPU threads",
            "memory_bytes": _peak_memory_bytes(),
        }
        outputs = {result.weights.name: file_sha256(result.weights)}
        key, inputs = key_of(fit_inputs(run, job))
        stamp = Stamp(step=_step_name(job), key=key, inputs=inputs, outputs=outputs, said=said)
        write_stamp(folder / STAMP, stamp)


def _make_room(run: Run, job: Job) -> None:
    """Remove what another fit left in the folder; of this fit, leave what there is."""
    folder = folder_of(run, job)
    key, inputs = key_of(fit_inputs(run, job))
    started = read_stamp(folder / STARTED)
    if started is None or started.key != key or (folder / STAMP).exists():
        remove(folder)
        write_stamp(folder / STARTED, Stamp(step=_step_name(job), key=key, inputs=inputs, outputs={}))


def _step_name(job: Job) -> str:
    return f"{job.trial.name}/fit_{job.size}"


def _peak_memory_bytes() -> int:
    """Of the GPU, where there is one; of this process else."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _fit_side_by_side(run: Run, jobs: list[Job], progress: Progress) -> None:
    at_once = min(run.workers, len(all_jobs(run)))
    # Of what the whole run could do at once: a resumed run must not count its threads otherwise, as the last
    # digits of a sum depend on them.
    threads = max(1, run.workers // at_once)
    # spawn: a forked child of a process that has run torch may hang in its thread pool.
    context = get_context("spawn")
    queue: Queue[tuple[Job, Epoch]] = context.Queue()
    bars: dict[Job, Bar] = {}
    with ProcessPoolExecutor(at_once, context, initializer=_report_to, initargs=(queue, os.getpid())) as pool:
        waiting: dict[Future[None], Job] = {
            pool.submit(_fit_in_child, run, job, threads): job for job in jobs
        }
        while waiting:
            done = wait(waiting, timeout=_POLL_S).done
            _drain(queue, bars, progress)
            for future in done:
                job = waiting.pop(future)
                future.result()
                progress.say(_result(run, job))


def _report_to(queue: Queue[tuple[Job, Epoch]], parent: int) -> None:
    global _reports
    end_with_parent(parent)
    _reports = queue


def _fit_in_child(run: Run, job: Job, threads: int) -> None:
    def report(job: Job, epoch: Epoch) -> None:
        if _reports is not None:
            _reports.put((job, epoch))

    fit_one(run, job, threads=threads, report=report)


def _drain(queue: Queue[tuple[Job, Epoch]], bars: dict[Job, Bar], progress: Progress) -> None:
    while True:
        try:
            job, epoch = queue.get_nowait()
        except Empty:
            return
        if job not in bars:
            bars[job] = progress.bar(job.name, epoch.total)
        _show(bars[job], epoch)


def _show(bar: Bar, epoch: Epoch) -> None:
    bar.update(epoch.number + 1, f"{_losses(epoch)}, {epoch.images_per_second:.3g} images/s", epoch.total)


def _losses(epoch: Epoch) -> str:
    said = {
        "loss": epoch.image_loss,
        "on cells": epoch.location_loss,
        "validation": epoch.validation_loss,
        "AUC": epoch.validation_auc,
    }
    return ", ".join(f"{name} {value:.4f}" for name, value in said.items() if value is not None)


def _result(run: Run, job: Job) -> str:
    stamp = read_stamp(folder_of(run, job) / STAMP)
    assert stamp is not None
    said = stamp.said
    early = ", stopped early" if said["stopped_early"] else ""
    return f"{job.name}: {said['epochs']} epochs{early}, kept {said['kept']}, {said['seconds']:.0f} s"
