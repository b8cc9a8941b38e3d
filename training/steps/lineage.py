"""Lineage of a bundle: one id from recipe and data to the bundle."""

from __future__ import annotations

import datetime
from typing import Any

from cxrserve import __version__
from cxrserve.bundle.contract import Lineage
from training.datasets.pictures import treatment
from training.recipes import PhantomData
from training.stamp import Stamp, sha256_of
from training.steps.label_counts import compared_counts
from training.steps.networks import start_of
from training.steps.prepare import data_inputs, manifests, prepared
from training.steps.run import Run, Trial
from training.steps.settings import changed_settings, start_in_words


def make_lineage(run: Run, trial: Trial, steps: dict[str, Stamp]) -> Lineage:
    """The lineage of the bundle of `trial`, made by `steps`, by name.

    Its id is a hash of the recipe, the data, the split, the code and what every step wrote, and of nothing
    else: the same run elsewhere, or one that was killed and resumed, has the same.
    """
    parts = {
        "recipe_sha256": run.recipe_sha256,
        "data_sha256": _data(run),
        "split_sha256": sha256_of(data_inputs(run, trial.fold)),
        "code_version": __version__,
        "steps": {name: stamp.sha256 for name, stamp in steps.items()},
    }
    return Lineage(
        recipe=run.recipe.name,
        data=_described(run),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        part=_part(run, trial),
        settings=_settings(run),
        weights=start_in_words(run.recipe, start_of(run.recipe)),
        id=sha256_of({**parts, "trial": trial.name}),
        **parts,
    )


def _settings(run: Run) -> tuple[str, ...]:
    """Everything in which the run is not the published recipe."""
    folds = f"folds ({run.all_folds} → {run.folds})"
    fewer = (folds,) if run.folds is not None and run.folds < run.all_folds else ()
    counts = [str(line) for line in compared_counts(run.recipe, manifests(run)) if line.differs]
    return (*changed_settings(run.recipe), *fewer, *counts)


def _data(run: Run) -> str:
    """Hash of the data: of manifests and images, or of the generator's source and seeds."""
    stamp = prepared(run)
    datasets: list[dict[str, Any]] = stamp.summary.get("datasets", [])
    if datasets:
        return sha256_of([[dataset["manifest_sha256"], dataset["content_sha256"]] for dataset in datasets])
    return sha256_of(dict(stamp.outputs))


def _described(run: Run) -> str:
    data = run.recipe.data
    if isinstance(data, PhantomData):
        return f"{data.training} phantoms, seeds from {data.first_seed}; no radiograph of a person"
    datasets = prepared(run).summary["datasets"]
    preprocessing = run.recipe.preprocessing
    return "; ".join(
        f"{dataset['source']}, {dataset['images']} images ({treatment(dataset['source'], preprocessing)})"
        for dataset in datasets
    )


def _part(run: Run, trial: Trial) -> str | None:
    """The trial of the bundle in words, where there are several."""
    folds, seeds = run.all_folds, len(run.recipe.seeds)
    parts = [f"fold {trial.fold} of {folds}"] if folds > 1 else []
    parts += [f"seed {trial.seed}, one of {seeds}"] if seeds > 1 else []
    return ", ".join(parts) or None
