"""The step `prepare`: index the data, part it by patient, put every pyramid into the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrserve.imaging.pyramid import Preprocessing
from training.cache import (
    PyramidCache,
    cache_images,
    cache_phantoms,
    content_sha256,
    open_cache,
    open_films,
    undecodable,
)
from training.cache.images import images_description
from training.cache.phantoms import phantoms_description
from training.datasets import Manifest, read_dataset, read_manifest, summary, write_manifest
from training.datasets.faults import check_share
from training.datasets.sample import Part
from training.datasets.split import Split, read_split, write_split
from training.recipes import DatasetData, PhantomData
from training.recipes.config import SplitConfig
from training.splits import fold_splits, official_split, random_split, row_split
from training.steps.progress import Progress
from training.steps.run import Run
from training.steps.stamp import Stamp, file_sha256, key_of, read_stamp, sha256_of, write_stamp
from training.steps.targets import kept, targets

STAMP = "prepare.json"
# The folders of drawn phantoms.
DRAWN: dict[Part, str] = {"train": "training", "validate": "validation", "test": "test"}


class StepError(ValueError):
    """A step that is asked for before the one that it builds on."""


def prepare(run: Run, progress: Progress) -> Stamp:
    """Prepare the data of `run`; what is there and unchanged is left as it is.

    Tables are read anew every time, which takes minutes at most; films are not, unless their file changed.

    Raises:
        DatasetError: the data cannot be used, or the disk has no room.
    """
    run.work.mkdir(parents=True, exist_ok=True)
    if isinstance(run.recipe.data, PhantomData):
        return _draw(run, run.recipe.data, progress)
    stamps = [
        _prepare_films(run, run.recipe.data, number, progress) for number in range(1, len(run.data) + 1)
    ]
    names = [name for said in stamps for name in said["files"]]
    outputs = {name: file_sha256(run.work / name) for name in names}
    outputs |= {f"cache {said['cache']}": said["content_sha256"] for said in stamps}
    key, inputs = key_of(prepare_inputs(run))
    stamp = Stamp(step="prepare", key=key, inputs=inputs, outputs=outputs, said={"datasets": stamps})
    return write_stamp(run.work / STAMP, stamp)


def prepare_inputs(run: Run) -> dict[str, object]:
    """What the step depends on, but for what lies on the disk."""
    data = run.recipe.data
    if isinstance(data, PhantomData):
        # How images make studies does not change a phantom.
        return {"data": replace(data, unit=type(data.unit)()), "preprocessing": run.recipe.preprocessing}
    return {"data": data, "preprocessing": run.recipe.preprocessing, "datasets": list(run.data)}


def prepared(run: Run) -> Stamp:
    """The stamp that `prepare` left.

    Raises:
        StepError: it has not been run, or was for another recipe or other data.
    """
    stamp = read_stamp(run.work / STAMP)
    if stamp is None or stamp.key != key_of(prepare_inputs(run))[0]:
        raise StepError(f"{run.work} holds no prepared data of this recipe and --data; run `prepare` first")
    return stamp


def data_sha256(run: Run, fold: int) -> str:
    """Hash of what trains, validates and tests in `fold`: later steps depend on it."""
    stamp = prepared(run)
    ours = {
        name: sha for name, sha in stamp.outputs.items() if "fold_" not in name or f"fold_{fold}_" in name
    }
    return sha256_of({"data": run.recipe.data, "outputs": ours})


def open_part(run: Run, fold: int, part: Part) -> PyramidCache:
    """The images of one part of `fold`.

    Raises:
        StepError: the data is not prepared.
        DatasetError: a file of it was changed.
    """
    stamp, recipe = prepared(run), run.recipe
    if isinstance(recipe.data, PhantomData):
        return open_cache(run.work / DRAWN[part], recipe.preprocessing)
    folders, rows, films, labels = [], [], [], []
    for number, said in enumerate(stamp.said["datasets"], 1):
        manifest = read_manifest(run.work / f"data/{number}", Path(said["root"]))
        split = read_split(run.work / split_file(fold, number), manifest)
        positions = split.positions(manifest)[part]
        folder = run.work / said["cache"]
        folders.append(folder)
        # The manifest holds the rows of the cache that could be decoded, in their order.
        rows.append(np.flatnonzero(np.load(folder / "state.npy") == 1)[positions])
        films.append([manifest.samples[position] for position in positions])
        labels.append(targets(manifest, recipe.data)[positions])
    return open_films(folders, rows, films, np.concatenate(labels), recipe.preprocessing.sizes)


def split_file(fold: int, number: int) -> str:
    return f"splits/fold_{fold}_data_{number}.json"


def cache_folder(manifest: Manifest, preprocessing: Preprocessing) -> str:
    """Where the pyramids of `manifest` lie in the work folder."""
    return f"cache/{sha256_of(images_description(manifest, preprocessing))[:12]}"


def make_splits(manifest: Manifest, config: SplitConfig) -> tuple[Split, ...]:
    """One split for each fold.

    Raises:
        DatasetError: the data cannot be split so.
    """
    shares = {"validation_share": config.validation_share, "test_share": config.test_share}
    match config.kind:
        case "patient-folds":
            return fold_splits(
                manifest, config.seed, folds=config.folds, validation_share=config.validation_share
            )
        case "random":
            return (random_split(manifest, config.seed, **shares),)
        case "official":
            return (official_split(manifest, config.seed, validation_share=config.validation_share),)
        case "by-row":
            return (row_split(manifest, config.seed, **shares),)


def _draw(run: Run, data: PhantomData, progress: Progress) -> Stamp:
    seed, outputs = data.first_seed, {}
    for part, count in zip(DRAWN.values(), (data.training, data.validation, data.test), strict=True):
        folder = run.work / part
        drawing = cache_phantoms(folder, seed, count, run.recipe.preprocessing, run.workers)
        for _ in progress.track(drawing, f"draw {part} phantoms", count):
            pass
        outputs[f"{part}/cache.json"] = sha256_of(phantoms_description(seed, count, run.recipe.preprocessing))
        seed += count
    key, inputs = key_of(prepare_inputs(run))
    return write_stamp(
        run.work / STAMP, Stamp(step="prepare", key=key, inputs=inputs, outputs=outputs, said={})
    )


def _prepare_films(run: Run, data: DatasetData, number: int, progress: Progress) -> dict[str, Any]:
    spec, preprocessing = run.data[number - 1], run.recipe.preprocessing
    progress.say(f"reading the tables of {spec}")
    listed = kept(read_dataset(spec, run.options), data)
    cache = cache_folder(listed, preprocessing)
    filling = cache_images(run.work / cache, listed, preprocessing, run.workers)
    for _ in progress.track(filling, f"pyramids of {spec}", len(listed)):
        pass
    bad = undecodable(run.work / cache, listed)
    good_N = np.array([row not in bad for row in range(len(listed))])
    manifest = replace(listed.subset(good_N), faults=(*listed.faults, *bad.values()))
    check_share(manifest.faults, len(manifest), run.options.max_bad_share, spec)
    write_manifest(manifest, run.work / f"data/{number}")
    if manifest.faults:
        progress.say(
            f"{len(manifest.faults)} of {len(manifest) + len(manifest.faults)} rows of {spec} are left out:\n"
            f"{summary(manifest.faults)}\n  all of them are in {run.work / f'data/{number}' / 'faults.csv'}"
        )
    files = [f"data/{number}/manifest.json"]
    (run.work / "splits").mkdir(exist_ok=True)
    for fold, split in enumerate(make_splits(manifest, data.split), 1):
        files.append(split_file(fold, number))
        write_split(split, run.work / files[-1])
    return {
        "spec": spec,
        "source": manifest.source,
        "root": str(manifest.root),
        "cache": cache,
        "content_sha256": content_sha256(run.work / cache),
        "manifest_sha256": manifest.sha256,
        "images": len(manifest),
        "left_out": len(manifest.faults),
        "files": files,
    }
