"""Facts about a run that a report shows besides scores: all of them optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.datasets.manifest import Manifest
from training.datasets.sample import Sample
from training.stamp import Stamp, read_stamp

# The file that a fit writes its figures into, epoch by epoch.
METRICS: Final = "metrics.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class FitFacts:
    """Cost of the fit of one size (Haque et al., Table 2).

    Attributes:
        device: e.g. "2 CPU cores", "1 × H200"; empty where not known.
        memory_bytes: peak, of one device; resident memory on a CPU.
        images_per_s: while training.
        seconds: wall time of the whole fit.
        batch, learning_rate: samples of one step over all processes, and the peak rate for it.
        epochs, kept: that were run, and number of the one whose weights were kept.
        fits: number of fits, over folds and seeds, that the figures are of: the largest memory, the means of
            speed, time and epochs.
    """

    size: int
    device: str = ""
    memory_bytes: int | None = None
    images_per_s: float | None = None
    seconds: float | None = None
    batch: int | None = None
    learning_rate: float | None = None
    epochs: int | None = None
    kept: int | None = None
    fits: int = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class People:
    """Views and patients of the N test images, as far as the tables say.

    Attributes:
        view_N, sex_N: words, "unknown" where not said.
        age_N: float64 years, NaN where not said.
    """

    view_N: NDArray[np.str_]
    sex_N: NDArray[np.str_]
    age_N: NDArray[np.float64]


_AGE_BANDS: Final = ((0, 40), (40, 60), (60, 80), (80, 200))


def age_bands(age_N: NDArray[np.float64]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Name and members of each age band; an age that is not known is in none."""
    return [
        (
            f"{low} and over" if high == _AGE_BANDS[-1][1] else f"{low} to {high - 1}",
            (age_N >= low) & (age_N < high),
        )
        for low, high in _AGE_BANDS
    ]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunFacts:
    """Facts about the run that made a bundle.

    Attributes:
        curves: CSV files of fits, by what each is, e.g. "1024" or "1024, fold 2"; a column `epoch` and any
            columns of figures.
        fits: by size.
        shapes: (rows, columns) of the original images, for their histogram.
        people: of the test images of the bundle.
        pooled_people: of the test images of all folds, one fold after the other; None without folds.
        source_labels_NF: labels of the whole dataset as its tables have them, for co-occurrence; the test
            images' own where there are none.
        repeats: AUC, mean over findings, by network and size: one figure for each seed or fold (Chizari,
            Figure 6).
    """

    curves: Mapping[str, Path] = field(default_factory=dict)
    fits: Sequence[FitFacts] = ()
    shapes: Sequence[tuple[int, int]] = ()
    people: People | None = None
    pooled_people: People | None = None
    source_labels_NF: NDArray[np.float32] | None = None
    repeats: Mapping[str, Mapping[int, Sequence[float]]] = field(default_factory=dict)


def people_of(samples: Sequence[Sample]) -> People:
    """View, sex and age of the people on these images, in their order."""
    return People(
        view_N=np.array([sample.view for sample in samples]),
        sex_N=np.array([sample.sex for sample in samples]),
        age_N=np.array([np.nan if sample.age is None else sample.age for sample in samples]),
    )


def shapes_of(manifest: Manifest) -> list[tuple[int, int]]:
    """(rows, columns) of the images whose size the tables give."""
    return [
        (sample.rows, sample.columns)
        for sample in manifest.samples
        if sample.rows is not None and sample.columns is not None
    ]


def curves_of(work: Path, steps: Mapping[str, str] | None = None) -> dict[str, Path]:
    """The CSV files of the fits below `work` by size, and by fold and seed where there are several.

    Args:
        steps: of a bundle's lineage; only its own fits then. None for all.
    """
    fits = _fit_folders(work, steps)
    several = len({folder.parent for folder in fits}) > 1
    named = {
        f"{_size_of(folder)}, {folder.parent.relative_to(work)}" if several else str(_size_of(folder)): folder
        for folder in sorted(fits, key=_size_of)
    }
    return {name: folder / METRICS for name, folder in named.items()}


def fits_of(work: Path, steps: Mapping[str, str] | None = None) -> tuple[FitFacts, ...]:
    """The cost of the first fit of each size below `work`, from its stamp.

    Args:
        steps: of a bundle's lineage; only its own fits then. None for all.
    """
    facts: dict[int, FitFacts] = {}
    for folder, stamp in _fit_folders(work, steps).items():
        facts.setdefault(_size_of(folder), fit_facts(_size_of(folder), stamp))
    return tuple(facts[size] for size in sorted(facts))


def fit_facts(size: int, stamp: Stamp) -> FitFacts:
    """The cost of a fit, from its stamp."""
    summary = stamp.summary
    return FitFacts(
        size=size,
        device=summary["device"],
        memory_bytes=summary["memory_bytes"],
        images_per_s=summary["images_per_second"],
        seconds=summary["seconds"],
        batch=summary.get("batch"),
        learning_rate=summary.get("learning_rate"),
        epochs=summary.get("epochs"),
        kept=summary.get("kept"),
    )


def mean_fit_facts(size: int, stamps: Sequence[Stamp]) -> FitFacts:
    """The cost of the fits of one size over folds and seeds, from their stamps."""
    facts = [fit_facts(size, stamp) for stamp in stamps]

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    epochs = mean([fact.epochs for fact in facts])
    memory = [fact.memory_bytes for fact in facts if fact.memory_bytes is not None]
    return replace(
        facts[0],
        memory_bytes=max(memory, default=None),
        images_per_s=mean([fact.images_per_s for fact in facts]),
        seconds=mean([fact.seconds for fact in facts]),
        epochs=None if epochs is None else round(epochs),
        kept=facts[0].kept if len(facts) == 1 else None,
        fits=len(facts),
    )


def _fit_folders(work: Path, steps: Mapping[str, str] | None) -> dict[Path, Stamp]:
    """The folders of finished fits below `work`, with their stamps."""
    stamps = {path.parent: read_stamp(path) for path in sorted(work.glob("fold_*/seed_*/fit_*/stamp.json"))}
    return {
        folder: stamp
        for folder, stamp in stamps.items()
        if stamp is not None
        and (folder / METRICS).exists()
        and (steps is None or stamp.sha256 == steps.get(f"fit {_size_of(folder)}"))
    }


def _size_of(folder: Path) -> int:
    """The size of a fit's folder, `fit_256` or `fit_256-1a2b3c4d`."""
    return int(folder.name.removeprefix("fit_").partition("-")[0])
