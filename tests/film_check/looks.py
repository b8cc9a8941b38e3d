"""Looks and sections for tests of decisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cxrserve.bundle.film_check import FilmCheck, MeasuredOn, Reference
from cxrserve.film_check.look import Look

UPRIGHT = Look(
    quarters=0,
    quarters_probability=1.0,
    inverted_probability=0.0,
    mirrored_probability=0.0,
    view=None,
    view_probability=0.0,
    cut_4=(0.0, 0.0, 0.0, 0.0),
    chest_probability=1.0,
    ranks={"training": 0.5, "films": 0.5},
    likeness={"training": 0.5, "films": 0.5},
    distances={"training": 2.0, "films": 2.0},
    nearest="training",
)


def reference(
    name: str, *, own: bool, films: int = 200, measured_on: MeasuredOn = "radiographs"
) -> Reference:
    """A reference of two independent standard normal features."""
    rng = np.random.default_rng(films)
    return Reference(
        name=name,
        measured_on=measured_on,
        data=f"{films} films",
        films=films,
        own=own,
        mean=(0.0, 0.0),
        whitening=((1.0,), (0.0, 1.0)),
        distances=tuple(np.sort(rng.chisquare(2, films)).tolist()),
        chests=tuple(np.sort(rng.uniform(0.9, 1, films)).tolist()),
        mirrored=0.5,
        cut=(0.2, 0.2, 0.2, 0.2),
    )


def section(*references: Reference, **changes: object) -> FilmCheck:
    """A section with these references; by default one of its own and another."""
    return FilmCheck.model_validate(
        {
            "file": "film_check.onnx",
            "sha256": "0" * 64,
            "parameters": 1,
            "features": 2,
            "trained_on": "films",
            "references": references or (reference("training", own=True), reference("films", own=False)),
            **changes,
        }
    )


def unlike(*names: str) -> Look:
    """A look at a film that the references of these names do not know."""
    low = dict.fromkeys(names, 0.0001)
    likeness = {**UPRIGHT.likeness, **low}
    nearest = max(likeness, key=lambda name: likeness[name])
    return replace(UPRIGHT, ranks={**UPRIGHT.ranks, **low}, likeness=likeness, nearest=nearest)
