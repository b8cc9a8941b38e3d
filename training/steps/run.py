"""A run: a recipe, its data, and where everything of it lies.

work/
├── recipe.json                 the recipe as it is run
├── training/ validation/ test/ pyramids of drawn phantoms, or
├── data/1/                     manifest and faults of the first dataset; data/2/ …
├── cache/<key>/                pyramids of its films
├── splits/fold_1_data_1.json   who trains, validates, tests
├── prepare.json                the stamp of `prepare`
└── fold_1/seed_0/              one trial: fit_256/ …, stack/, calibrate/, export/, evaluate/, each
                                with its stamp.json
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.datasets.options import ReadOptions
from training.recipes import DatasetData, PhantomData, Recipe
from training.steps.stamp import sha256_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One set of networks with its stack: a fold, counted from 1, and a seed."""

    fold: int
    seed: int

    @property
    def name(self) -> str:
        return f"fold_{self.fold}/seed_{self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What `cxrserve train` was asked for.

    Attributes:
        recipe: with everything that was set.
        data: datasets as "kind:path"; none for a recipe that draws phantoms.
        out: the bundle's folder.
        work: everything in between.
        folds: how many of the recipe's folds are run, the first ones; None for all.
        workers: processes that decode or draw, and threads for the fits.
        options: how datasets are read.
        report: "full", or "brief": without the fields and footprints of each network, which take minutes.
    """

    recipe: Recipe
    out: Path
    work: Path
    data: tuple[str, ...] = ()
    folds: int | None = None
    workers: int = 1
    options: ReadOptions = field(default_factory=ReadOptions)
    report: Literal["full", "brief"] = "full"

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
        """Every trial; the first is the one whose bundle is delivered."""
        folds = range(1, (self.folds or self.all_folds) + 1)
        return tuple(Trial(fold=fold, seed=seed) for fold in folds for seed in self.recipe.seeds)

    @property
    def recipe_sha256(self) -> str:
        return sha256_of(self.recipe)

    def folder(self, trial: Trial, step: str = "") -> Path:
        return self.work / trial.name / step
