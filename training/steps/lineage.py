"""Where a bundle comes from: one id from recipe and data to the bundle."""

from __future__ import annotations

import datetime
from typing import Any

from cxrserve import __version__
from cxrserve.ensemble.bundle import Lineage
from training.recipes import PhantomData
from training.steps.prepare import data_sha256, prepared
from training.steps.run import Run, Trial
from training.steps.stamp import Stamp, sha256_of


def lineage(run: Run, trial: Trial, steps: dict[str, Stamp]) -> Lineage:
    """The lineage of the bundle of `trial`, made by `steps`, by name.

    Its id is a hash of the recipe, the data, the split, the code and what every step wrote, and of nothing
    else: the same run elsewhere, or one that was killed and resumed, has the same.
    """
    parts = {
        "recipe_sha256": run.recipe_sha256,
        "data_sha256": _data(run),
        "split_sha256": data_sha256(run, trial.fold),
        "code_version": __version__,
        "steps": {name: stamp.sha256 for name, stamp in steps.items()},
    }
    return Lineage(
        recipe=run.recipe.name,
        data=_words(run),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        part=_part(run, trial),
        id=sha256_of({**parts, "trial": trial.name}),
        **parts,
    )


def _data(run: Run) -> str:
    """Hash of what was read: manifests, or the seeds and the source of the generator."""
    stamp = prepared(run)
    datasets: list[dict[str, Any]] = stamp.said.get("datasets", [])
    if datasets:
        return sha256_of([[said["manifest_sha256"], said["content_sha256"]] for said in datasets])
    return sha256_of(dict(stamp.outputs))


def _words(run: Run) -> str:
    data = run.recipe.data
    if isinstance(data, PhantomData):
        return f"{data.training} phantoms, seeds from {data.first_seed}; no radiograph of a person"
    datasets = prepared(run).said["datasets"]
    return "; ".join(f"{said['source']}, {said['images']} images" for said in datasets)


def _part(run: Run, trial: Trial) -> str | None:
    """Which of several trials delivered the bundle."""
    folds, seeds = run.all_folds, len(run.recipe.seeds)
    said = [f"fold {trial.fold} of {folds}"] if folds > 1 else []
    said += [f"seed {trial.seed}, one of {seeds}"] if seeds > 1 else []
    return ", ".join(said) or None
