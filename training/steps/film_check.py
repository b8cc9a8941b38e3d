"""The step `film-check`: the network that looks at every film before the members do, and its table.

It learns from the training images, its reference is of validation images, and its table of test images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cxrserve import __version__
from cxrserve.bundle.film_check import VIEWS, View
from cxrserve.bundle.film_check import FilmCheck as Section
from training.datasets.views import views_of
from training.film_check.build import build_section, learnt_views
from training.film_check.fit import fit
from training.film_check.from_cache import films_of
from training.film_check.reference import FEWEST
from training.recipes import DatasetData, PhantomData
from training.steps.prepare import data_inputs, open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.step import Done, label

SECTION: Final = "film_check.json"
# Test films beyond this number make the table longer to measure, not better.
_MAX_TESTED: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmCheck:
    """The step; its result is the contract's section and the folder of the network's file, None without."""

    name: str = "film_check"
    command: str = "film-check"

    def inputs(self, run: Run, trial: Trial) -> dict[str, object]:
        """Everything that the step depends on."""
        return {
            "data": data_inputs(run, trial.fold),
            "settings": run.recipe.film_check,
            "views": _refused_views(run, VIEWS),
            "code": __version__,
        }

    def run(self, run: Run, trial: Trial, folder: Path, progress: Progress) -> Done:
        """Fit and export the network, measure its reference and its table."""
        settings, training_part = run.recipe.film_check, open_part(run, trial.fold, "train")
        reference_part, test_part = open_part(run, trial.fold, "validate"), open_part(run, trial.fold, "test")
        least = settings.min_images
        if len(training_part) < least or min(len(reference_part), len(test_part)) < FEWEST:
            progress.say(
                f"{label(self, trial)}: no film check: it needs {least} training images, and {FEWEST} each "
                "for validation and test"
            )
            (folder / SECTION).write_text("null\n", encoding="utf-8")
            return Done(files=(SECTION,))
        kind = "phantoms" if isinstance(run.recipe.data, PhantomData) else "images"
        training = films_of(training_part, f"training {kind}")

        def track(batches: Iterable[object], count: int) -> Iterable[object]:
            return progress.track(batches, label(self, trial), count)

        views = learnt_views(training)
        known = training.views_N or (None,) * len(training.pictures_NSS)
        network = fit(training.pictures_NSS, known, settings, workers=max(run.workers - 1, 0), track=track)
        section = build_section(
            network,
            folder,
            trained_on=training.data,
            views=views,
            refused_views=_refused_views(run, views),
            reference=films_of(reference_part, f"validation {kind}"),
            test=films_of(test_part, f"test {kind}", limit=_MAX_TESTED),
        )
        (folder / SECTION).write_text(section.model_dump_json(indent=1) + "\n", encoding="utf-8")
        good = section.measured[0]
        return Done(files=(SECTION, section.file), summary={"refused": good.count, "of": good.films})

    def load(self, folder: Path) -> tuple[Section, Path] | None:
        """Read the section and find the file."""
        text = (folder / SECTION).read_text(encoding="utf-8")
        return (Section.model_validate_json(text), folder) if json.loads(text) else None


def _refused_views(run: Run, views: tuple[View, ...]) -> tuple[View, ...]:
    """Those of `views` that the recipe's members are not trained on."""
    data = run.recipe.data
    trained_views = views_of(data.views) if isinstance(data, DatasetData) else frozenset(views)
    return tuple(view for view in views if view not in trained_views)
