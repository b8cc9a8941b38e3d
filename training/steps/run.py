"""Run: a recipe, its data and its folders.

work/
├── recipe.json                 the recipe as it was run last
├── cache/<key>/                pyramids of the radiographs of a dataset; elsewhere with --cache
├── data/                       the step `prepare`: stamp.json and, of datasets,
│   ├── 1/                      manifest and faults of the first; 2/ …
│   └── splits/fold_1_data_1.json   which images train, validate, test;
│                               of drawn phantoms, training/ validation/ test/
└── fold_1/seed_0/              one trial: fit_256/ …, stack/, calibrate/, export/, evaluate/, each
                                with its stamp.json

A step that runs with other inputs than an earlier one gets a folder of its own, such as `fit_256-1a2b3c4d/`
or `data-1a2b3c4d/`; the earlier one stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.datasets.options import ReadOptions
from training.recipes import DatasetData, PhantomData, Recipe
from training.stamp import sha256_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One set of networks with its stack: a fold, counted from 1, and a seed."""

    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Its folder below the work folder."""
        return f"fold_{self.fold}/seed_{self.seed}"

    @property
    def label(self) -> str:
        """In words."""
        return f"fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The arguments of `cxrserve train`.

    Attributes:
        recipe: with everything that was set.
        data: datasets as "kind:path"; none for a recipe that draws phantoms.
        out: the bundle's folder.
        work: everything in between.
        cache: of pyramids, which recipes with the same data and preprocessing share; `work`/cache if None.
        folds: how many of the recipe's folds are run, the first ones; None for all.
        workers: processes that decode or draw, and threads for the fits.
        options: how datasets are read.
        report: "full", or "brief": without the fields and footprints of each network, which take minutes.
        replace: overwrite files in `out` that another run wrote.
        each_fold: write the bundle of every fold and seed, not of the first alone.
        other_counts: train also where the paper counts other images or labels of its dataset.
        variants: make and gate variants of the networks in half precision and 8-bit integers.
        field_images: images that each effective receptive field of the report is averaged over.
    """

    recipe: Recipe
    out: Path
    work: Path
    cache: Path | None = None
    data: tuple[str, ...] = ()
    folds: int | None = None
    workers: int = 1
    options: ReadOptions = field(default_factory=ReadOptions)
    report: Literal["full", "brief"] = "full"
    replace: bool = False
    each_fold: bool = False
    other_counts: bool = False
    field_images: int = 16
    variants: bool = False

    def __post_init__(self) -> None:
        recipe, drawn = self.recipe, isinstance(self.recipe.data, PhantomData)
        if drawn and self.data:
            raise ValueError(
                f"the recipe {recipe.name} draws its own phantoms, as its losses ask where findings lie; "
                "leave --data away, or take a recipe for films"
            )
        if not drawn and not self.data:
            assert isinstance(recipe.data, DatasetData)
            raise ValueError(
                f"the recipe {recipe.name} trains on films: say where they are, such as "
                f"--data {recipe.data.source}:/path"
            )
        if self.folds is not None and not 1 <= self.folds <= self.all_folds:
            raise ValueError(f"--folds {self.folds}: the recipe {recipe.name} has 1 to {self.all_folds}")

    @property
    def all_folds(self) -> int:
        data = self.recipe.data
        if isinstance(data, DatasetData) and data.split.kind == "patient-folds":
            return data.split.folds
        return 1

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials; the first is the one whose bundle is delivered."""
        folds = range(1, (self.folds or self.all_folds) + 1)
        return tuple(Trial(fold=fold, seed=seed) for fold in folds for seed in self.recipe.seeds)

    @property
    def recipe_sha256(self) -> str:
        return sha256_of(self.recipe)

    @property
    def cache_folder(self) -> Path:
        """The folder of all caches of pyramids."""
        return self.cache or self.work / "cache"

    def folder(self, trial: Trial) -> Path:
        """The folder of a trial; its steps have theirs below it."""
        return self.work / trial.name
