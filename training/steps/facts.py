"""Facts of a run for its report, besides scores: curves, costs, patients, image sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.cache import PyramidCache
from training.fit.fit_state import METRICS
from training.report.averages import complete, means_over
from training.report.facts import FitFacts, People, RunFacts, mean_fit_facts, people_of
from training.steps.fit import Fit, fit_stamps
from training.steps.prepare import manifests, open_part
from training.steps.run import Run, Trial
from training.steps.step import folder_of

AucTable = dict[str, dict[str, float | None]]


def run_facts(run: Run, test: PyramidCache, tables: dict[Trial, AucTable]) -> RunFacts:
    """The facts that the report of `run` shows.

    Args:
        test: the test images of the first trial.
        tables: AUC by finding and column, of every trial.
    """
    datasets = manifests(run)
    samples = [sample for manifest in datasets for sample in manifest.samples]
    return RunFacts(
        curves=_curves(run),
        fits=_fits(run),
        shapes=[(sample.rows, sample.columns) for sample in samples if sample.rows and sample.columns],
        people=people_of(test.records) if test.records else None,
        pooled_people=_pooled_people(run),
        source_labels_NF=np.concatenate([manifest.labels_NF() for manifest in datasets])
        if datasets
        else None,
        repeats=_repeats(run, tables) if len(tables) > 1 else {},
    )


def _curves(run: Run) -> dict[str, Path]:
    several = len(run.trials) > 1
    return {
        f"{size}, {trial.name}" if several else str(size): folder_of(Fit(size=size), run, trial) / METRICS
        for trial in run.trials
        for size in run.recipe.preprocessing.sizes
    }


def _fits(run: Run) -> list[FitFacts]:
    """Of each size, over all trials."""
    stamps = [fit_stamps(run, trial) for trial in run.trials]
    return [
        mean_fit_facts(size, [trial_stamps[size] for trial_stamps in stamps])
        for size in run.recipe.preprocessing.sizes
    ]


def _pooled_people(run: Run) -> People | None:
    """People of the test images of every fold; None without several folds, or of drawn phantoms."""
    folds = list(dict.fromkeys(trial.fold for trial in run.trials))
    if len(folds) < 2:
        return None
    samples = [sample for fold in folds for sample in open_part(run, fold, "test").records]
    return people_of(samples) if samples else None


def _repeats(run: Run, tables: dict[Trial, AucTable]) -> dict[str, dict[int, list[float]]]:
    """Mean AUC of each trial, by size, over the findings that all trials have at all sizes."""
    sizes = run.recipe.preprocessing.sizes
    # The only size of a bundle has no stack beside it.
    columns = [str(size) for size in sizes]
    known = [
        {
            name: {column: value for column, value in row.items() if value is not None}
            for name, row in table.items()
        }
        for table in tables.values()
    ]
    names = complete(known, columns)
    means = [means_over(table, names, columns) for table in known]
    by_size = {size: [mean[str(size)] for mean in means if mean] for size in sizes}
    return {run.recipe.architecture: {size: values for size, values in by_size.items() if values}}


def _known(row: dict[str, float | None]) -> dict[str, float]:
    return {column: value for column, value in row.items() if value is not None}
