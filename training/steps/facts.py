"""What a run knows of itself beside scores, for the report: curves, costs, people, image sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.cache import PyramidCache
from training.datasets import Manifest, read_manifest
from training.datasets.sample import Sample
from training.fit.record import METRICS
from training.report.facts import FitFacts, People, RunFacts
from training.report.scores import STACK
from training.steps.fit import Job, fit_stamps, folder_of
from training.steps.prepare import prepared
from training.steps.run import Run, Trial

AucTable = dict[str, dict[str, float | None]]


def run_facts(run: Run, test: PyramidCache, tables: dict[Trial, AucTable]) -> RunFacts:
    """Everything that the report of `run` can show.

    Args:
        test: the test images of the first trial.
        tables: AUC by finding and column, of every trial.
    """
    manifests = _manifests(run)
    films = [film for manifest in manifests for film in manifest.samples]
    return RunFacts(
        curves=_curves(run),
        fits=_fits(run),
        shapes=[(film.rows, film.columns) for film in films if film.rows and film.columns],
        people=_people(test.films) if test.films else None,
        source_labels_NF=np.concatenate([manifest.labels_NF() for manifest in manifests])
        if manifests
        else None,
        repeats=_repeats(run, tables) if len(tables) > 1 else {},
    )


def _manifests(run: Run) -> list[Manifest]:
    datasets = prepared(run).said.get("datasets", [])
    return [
        read_manifest(run.work / f"data/{number}", Path(said["root"]))
        for number, said in enumerate(datasets, 1)
    ]


def _curves(run: Run) -> dict[str, Path]:
    several = len(run.trials) > 1
    return {
        f"{size}, {trial.name}" if several else str(size): folder_of(run, Job(trial=trial, size=size))
        / METRICS
        for trial in run.trials
        for size in run.recipe.preprocessing.sizes
    }


def _fits(run: Run) -> list[FitFacts]:
    """Of the first trial: what was delivered."""
    return [
        FitFacts(
            size=size,
            device=stamp.said["device"],
            memory_bytes=stamp.said["memory_bytes"],
            images_per_s=stamp.said["images_per_second"],
            seconds=stamp.said["seconds"],
        )
        for size, stamp in fit_stamps(run, run.trials[0]).items()
    ]


def _people(films: tuple[Sample, ...]) -> People:
    return People(
        view_N=np.array([film.view for film in films]),
        sex_N=np.array([film.sex for film in films]),
        age_N=np.array([np.nan if film.age is None else film.age for film in films]),
    )


def _repeats(run: Run, tables: dict[Trial, AucTable]) -> dict[str, dict[int, list[float]]]:
    """Mean AUC of each trial, by size; without the stack, which has no size."""
    by_size: dict[int, list[float]] = {}
    for table in tables.values():
        for size in run.recipe.preprocessing.sizes:
            column = str(size) if any(str(size) in row for row in table.values()) else STACK
            values = [row[column] for row in table.values() if row.get(column) is not None]
            if values:
                by_size.setdefault(size, []).append(float(np.mean(np.array(values, np.float64))))
    return {run.recipe.architecture: by_size}
