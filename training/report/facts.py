"""What a report tells besides scores, from whoever made the bundle: all of it optional."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.datasets.manifest import Manifest

# The file that a fit writes its figures into, epoch by epoch, in a folder named for its size.
METRICS: Final = "metrics.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class FitFacts:
    """What fitting the network of one size took (Haque et al., Table 2).

    Attributes:
        device: e.g. "2 CPU cores", "1 × H200"; empty where not known.
        memory_bytes: peak, of one device; resident memory on a CPU.
        images_per_s: while training.
        seconds: wall time of the whole fit.
    """

    size: int
    device: str = ""
    memory_bytes: int | None = None
    images_per_s: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class People:
    """Whose images the N test images are, as far as the tables say.

    Attributes:
        view_N, sex_N: words, "unknown" where not said.
        age_N: float64 years, NaN where not said.
    """

    view_N: NDArray[np.str_]
    sex_N: NDArray[np.str_]
    age_N: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunFacts:
    """What the run that made a bundle knows of itself.

    Attributes:
        curves: CSV files of fits, by what each is, e.g. "1024" or "1024, fold 2"; a column `epoch` and any
            columns of figures.
        fits: by size.
        shapes: (rows, columns) of the original images, for their histogram.
        people: of the test images.
        source_labels_NF: labels of the whole dataset as its tables have them, for co-occurrence; the test
            images' own where there are none.
        repeats: AUC, mean over findings, by network and size: one figure for each seed or fold (Chizari,
            Figure 6).
    """

    curves: Mapping[str, Path] = field(default_factory=dict)
    fits: Sequence[FitFacts] = ()
    shapes: Sequence[tuple[int, int]] = ()
    people: People | None = None
    source_labels_NF: NDArray[np.float32] | None = None
    repeats: Mapping[str, Mapping[int, Sequence[float]]] = field(default_factory=dict)


def people_of(manifest: Manifest) -> People:
    """View, sex and age of the manifest's images, in its order."""
    return People(
        view_N=np.array([sample.view for sample in manifest.samples]),
        sex_N=np.array([sample.sex for sample in manifest.samples]),
        age_N=np.array([np.nan if sample.age is None else sample.age for sample in manifest.samples]),
    )


def shapes_of(manifest: Manifest) -> list[tuple[int, int]]:
    """(rows, columns) of the images whose size the tables give."""
    return [
        (sample.rows, sample.columns)
        for sample in manifest.samples
        if sample.rows is not None and sample.columns is not None
    ]


def curves_of(work: Path) -> dict[str, Path]:
    """The figures of every fit below `work`, by size, and by fold and seed where there are several."""
    files = sorted(work.rglob(METRICS))
    places = {
        file: tuple(part for part in file.parent.relative_to(work).parts if part != "fit") for file in files
    }
    several = len({place[:-1] for place in places.values()}) > 1
    named = {
        ", ".join(reversed(place)) if several else place[-1]: file for file, place in places.items() if place
    }
    return dict(sorted(named.items(), key=lambda item: (len(item[0]), item[0])))


def fits_of(work: Path) -> tuple[FitFacts, ...]:
    """Rate and time of the first fit of each size below `work`; of the phase that looks at whole images."""
    found: dict[int, FitFacts] = {}
    for file in sorted(work.rglob(METRICS)):
        if not file.parent.name.isdigit() or int(file.parent.name) in found:
            continue
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        rates = [
            float(row["images_per_second"])
            for row in rows
            if row.get("phase") == "images" and row.get("images_per_second")
        ]
        size = int(file.parent.name)
        found[size] = FitFacts(
            size=size,
            images_per_s=mean(rates) if rates else None,
            seconds=float(rows[-1]["seconds"]) if rows and rows[-1].get("seconds") else None,
        )
    return tuple(found[size] for size in sorted(found))
