"""Hashes of the patients of a trial, beside its bundle."""

from __future__ import annotations

from pathlib import Path

from training.datasets.patients import patients_of_split, write_patients
from training.datasets.split import read_split
from training.recipes import PhantomData
from training.stamp import sha256_of
from training.steps.prepare import data_folder, data_inputs, manifests, split_file
from training.steps.run import Run, Trial


def write_hashes(run: Run, trial: Trial, folder: Path) -> None:
    """Write `patients.json` into `folder`; drawn phantoms are nobody.

    The salt follows from the data, so that the same run writes the same file.
    """
    if isinstance(run.recipe.data, PhantomData):
        return
    datasets = manifests(run)
    splits = [
        read_split(data_folder(run) / split_file(trial.fold, number), manifest)
        for number, manifest in enumerate(datasets, 1)
    ]
    salt = sha256_of({"salt of": data_inputs(run, trial.fold)})[:32]
    write_patients(patients_of_split(datasets, splits, salt), folder)
