"""The step `prepare`: index the data, split it by patient, write every pyramid into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

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
from training.cache.phantoms import generator_sha256, phantoms_description
from training.datasets import DatasetError, Manifest, read_manifest, summary, write_manifest
from training.datasets.faults import check_share
from training.datasets.make_splits import (
    fold_splits,
    official_split,
    patients_of,
    random_split,
    row_split,
)
from training.datasets.manifest_files import write_faults
from training.datasets.pictures import profile_note, treatment
from training.datasets.read import list_dataset
from training.datasets.sample import Part
from training.datasets.split import Split, check_across, read_split, write_split
from training.recipes import DatasetData, PhantomData
from training.recipes.config import SplitConfig
from training.stamp import Stamp, file_sha256, plain, read_stamp, sha256_of, write_stamp
from training.steps.label_checks import check_labels
from training.steps.label_counts import check_counts
from training.steps.lock import alone_in
from training.steps.progress import Progress
from training.steps.run import Run
from training.steps.step import STAMP, STARTED, StepError, find_folder
from training.steps.targets import kept, targets

NAME: Final = "data"
# The folders of drawn phantoms.
DRAWN: Final[dict[Part, str]] = {"train": "training", "validate": "validation", "test": "test"}


def prepare(run: Run, progress: Progress) -> Stamp:
    """Prepare the data of `run`; what is there and unchanged is left as it is.

    Tables are read again every time, which takes minutes at most; radiographs are not, unless their file
    changed.

    Raises:
        DatasetError: the data cannot be used, or the disk has no room.
    """
    folder, inputs = data_folder(run), plain(prepare_inputs(run))
    folder.mkdir(parents=True, exist_ok=True)
    write_stamp(folder / STARTED, Stamp(step="prepare", inputs=inputs))
    if isinstance(run.recipe.data, PhantomData):
        stamp = Stamp(step="prepare", inputs=inputs, outputs=_draw(run, run.recipe.data, folder, progress))
        return write_stamp(folder / STAMP, stamp)
    data = run.recipe.data
    listed = [_list(run, data, folder, number, progress) for number in range(1, len(run.data) + 1)]
    # What the tables alone show to be impossible is refused before the pyramids are made, which takes hours.
    check_labels(data, run.recipe, listed, make_splits(listed, data.split))
    check_counts(run, listed, progress)
    indexed = [_cache(run, manifest, folder, number, progress) for number, manifest in enumerate(listed, 1)]
    manifests, datasets = [manifest for manifest, _ in indexed], [dataset for _, dataset in indexed]
    _write_splits(manifests, data, folder, datasets)
    outputs = {name: file_sha256(folder / name) for dataset in datasets for name in dataset["files"]}
    stamp = Stamp(step="prepare", inputs=inputs, outputs=outputs, summary={"datasets": datasets})
    return write_stamp(folder / STAMP, stamp)


def prepare_inputs(run: Run) -> dict[str, object]:
    """Everything that the step depends on, except the files of the datasets."""
    data = run.recipe.data
    if isinstance(data, PhantomData):
        # How images make studies does not change a phantom.
        data = replace(data, sample_unit=type(data.sample_unit)())
        return {
            "data": data,
            "preprocessing": run.recipe.preprocessing,
            "generator": generator_sha256(),
        }
    return {"data": data, "preprocessing": run.recipe.preprocessing, "datasets": list(run.data)}


def data_folder(run: Run) -> Path:
    """The folder of the prepared data of `run`: manifests and splits, or drawn phantoms."""
    return find_folder(run.work, NAME, prepare_inputs(run))


def prepared(run: Run) -> Stamp:
    """The stamp that `prepare` left.

    Raises:
        StepError: it has not been run, or was for another recipe or other data.
    """
    stamp = read_stamp(data_folder(run) / STAMP)
    if stamp is None:
        raise StepError(f"{run.work} holds no prepared data of this recipe and --data; run `prepare` first")
    return stamp


def data_inputs(run: Run, fold: int) -> dict[str, object]:
    """The images and labels that train, validate and test in `fold`: later steps depend on them."""
    stamp = prepared(run)
    outputs = stamp.outputs
    files = {name: sha for name, sha in outputs.items() if "fold_" not in name or f"fold_{fold}_" in name}
    images = [dataset["content_sha256"] for dataset in stamp.summary.get("datasets", [])]
    return {"config": run.recipe.data, "files": files, "images": images}


def open_part(run: Run, fold: int, part: Part) -> PyramidCache:
    """The images of one part of `fold`.

    Raises:
        StepError: the data is not prepared.
        DatasetError: a file of it was changed.
    """
    stamp, recipe, folder = prepared(run), run.recipe, data_folder(run)
    if isinstance(recipe.data, PhantomData):
        return open_cache(folder / DRAWN[part], recipe.preprocessing)
    caches, rows, samples, labels = [], [], [], []
    for number, dataset in enumerate(stamp.summary["datasets"], 1):
        manifest = read_manifest(folder / str(number), Path(dataset["root"]))
        positions = read_split(folder / split_file(fold, number), manifest).positions(manifest)[part]
        cache = run.cache_folder / dataset["cache"]
        caches.append(cache)
        # The manifest holds the rows of the cache that could be decoded, in their order.
        rows.append(np.flatnonzero(np.load(cache / "state.npy") == 1)[positions])
        samples.append([manifest.samples[position] for position in positions])
        labels.append(targets(manifest, recipe.data)[positions])
    return open_films(caches, rows, samples, np.concatenate(labels), recipe.preprocessing.sizes)


def manifests(run: Run) -> list[Manifest]:
    """The prepared datasets, without the images that could not be decoded; none of drawn phantoms.

    Raises:
        StepError: the data is not prepared.
    """
    folder = data_folder(run)
    datasets = prepared(run).summary.get("datasets", [])
    return [
        read_manifest(folder / str(number), Path(dataset["root"]))
        for number, dataset in enumerate(datasets, 1)
    ]


def split_file(fold: int, number: int) -> str:
    """The split of the dataset `number` in `fold`, below the data folder."""
    return f"splits/fold_{fold}_data_{number}.json"


def cache_folder(manifest: Manifest, preprocessing: Preprocessing) -> str:
    """The folder of the pyramids of `manifest`, below the folder of all caches."""
    return sha256_of(images_description(manifest, preprocessing))[:12]


def make_splits(manifests: Sequence[Manifest], config: SplitConfig) -> list[tuple[Split, ...]]:
    """The splits of each dataset, one for each fold; a patient of several is in the same part of all.

    Raises:
        DatasetError: the data cannot be split so.
    """
    splits = [_splits_of(manifest, manifests, config) for manifest in manifests]
    for fold in zip(*splits, strict=True):
        check_across(fold, manifests)
    return splits


def _splits_of(manifest: Manifest, manifests: Sequence[Manifest], config: SplitConfig) -> tuple[Split, ...]:
    seed, validation, test = config.seed, config.validation_share, config.test_share
    patients = patients_of(manifests)
    match config.kind:
        case "patient-folds":
            return fold_splits(
                manifest, seed, folds=config.folds, validation_share=validation, patients=patients
            )
        case "random":
            shares = {"validation_share": validation, "test_share": test}
            return (random_split(manifest, seed, **shares, patients=patients),)
        case "official":
            training = patients_of(manifests, "train")
            return (official_split(manifest, seed, validation_share=validation, patients=training),)
        case "by-row":
            return (row_split(manifest, seed, validation_share=validation, test_share=test),)


def _draw(run: Run, data: PhantomData, folder: Path, progress: Progress) -> dict[str, str]:
    """Draw the phantoms; returns a hash of each part."""
    seed, outputs = data.first_seed, {}
    for part, count in zip(DRAWN.values(), (data.training, data.validation, data.test), strict=True):
        drawing = cache_phantoms(folder / part, seed, count, run.recipe.preprocessing, run.workers)
        for _ in progress.track(drawing, f"draw {part} phantoms", count):
            pass
        outputs[f"{part}/cache.json"] = sha256_of(phantoms_description(seed, count, run.recipe.preprocessing))
        seed += count
    return outputs


def _list(run: Run, data: DatasetData, folder: Path, number: int, progress: Progress) -> Manifest:
    """The images of one dataset that the recipe uses, from its tables."""
    spec = run.data[number - 1]
    progress.say(f"reading the tables of {spec}")
    manifest = list_dataset(spec, run.options)
    _check_faults(run, manifest, folder, number)
    progress.say(f"{spec}: {treatment(manifest.source, run.recipe.preprocessing)}")
    if note := profile_note(manifest.source, run.recipe.preprocessing):
        progress.say(note)
    return kept(manifest, data)


def _check_faults(run: Run, manifest: Manifest, folder: Path, number: int) -> None:
    """Write the list of bad rows, and refuse too many of them."""
    path = write_faults(manifest, folder / str(number))
    try:
        check_share(manifest.faults, len(manifest), run.options.max_bad_share, run.data[number - 1])
    except DatasetError as error:
        raise DatasetError(f"{error.detail}\nAll of them are in {path}.") from error


def _cache(
    run: Run, listed: Manifest, folder: Path, number: int, progress: Progress
) -> tuple[Manifest, dict[str, Any]]:
    """Cache one dataset; returns its images that can be decoded, and the facts that later steps need."""
    spec, preprocessing = run.data[number - 1], run.recipe.preprocessing
    name = cache_folder(listed, preprocessing)
    cache = run.cache_folder / name
    with alone_in(cache):  # runs in other work folders may share it
        filling = cache_images(
            cache,
            listed,
            preprocessing,
            run.workers,
            lambda rate: progress.say(f"pyramids of {spec}: {rate}"),
        )
        for _ in progress.track(filling, f"pyramids of {spec}", len(listed)):
            pass
    bad = undecodable(cache, listed)
    good_N = np.array([row not in bad for row in range(len(listed))])
    manifest = replace(listed.subset(good_N), faults=(*listed.faults, *bad.values()))
    _check_faults(run, manifest, folder, number)
    write_manifest(manifest, folder / str(number))
    if manifest.faults:
        progress.say(
            f"{len(manifest.faults)} of {len(manifest) + len(manifest.faults)} rows of {spec} are left out:\n"
            f"{summary(manifest.faults)}\n  all of them are in {folder / str(number) / 'faults.csv'}"
        )
    return manifest, {
        "spec": spec,
        "source": manifest.source,
        "root": str(manifest.root),
        "cache": name,
        "content_sha256": content_sha256(cache),
        "manifest_sha256": manifest.sha256,
        "images": len(manifest),
        "left_out": len(manifest.faults),
        "files": [f"{number}/manifest.json"],
    }


def _write_splits(
    manifests: Sequence[Manifest], data: DatasetData, folder: Path, datasets: list[dict[str, Any]]
) -> None:
    (folder / "splits").mkdir(exist_ok=True)
    for number, splits in enumerate(make_splits(manifests, data.split), 1):
        for fold, split in enumerate(splits, 1):
            write_split(split, folder / split_file(fold, number))
            datasets[number - 1]["files"].append(split_file(fold, number))
