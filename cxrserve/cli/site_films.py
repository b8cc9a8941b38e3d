"""Reads a folder of films with a bundle alone, for `cxrserve site`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from cxrserve.bundle.contract import Contract
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.errors import CxrserveError, ImageError, RequestError
from cxrserve.findings import NAMES
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.progress import progress_bar
from cxrserve.settings import Settings
from cxrserve.site.films import Films
from cxrserve.site.labels import Labels
from cxrserve.watch.group import Observation
from cxrserve.watch.streams import STREAMS


@dataclass(frozen=True, kw_only=True)
class ReadFilms:
    """The films, and the bundle and arithmetic that read them."""

    films: Films
    contract: Contract
    bundle_sha256: str
    arithmetic: Arithmetic


def read_films(folder: Path, settings: Settings, labels: Labels | None) -> ReadFilms:
    """Read every film below `folder`; one that is refused counts for the watch, and has no scores.

    Raises:
        RequestError: there are no films, or the labels name none of them.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    )
    observed: list[Observation] = []
    scores: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    files: list[str] = []
    bare = settings.model_copy(update={"site": None, "watch": None})
    console = Console(stderr=True, soft_wrap=True)
    with Pipeline(bare, observe=observed.append) as pipeline, progress_bar(console, transient=True) as bar:
        task = bar.add_task("reading", total=len(paths))
        for path in paths:
            bar.advance(task)
            score_F = _scores(pipeline, path, console)
            if score_F is not None:
                files.append(path.relative_to(folder).as_posix())
                scores.append(score_F)
        contract, bundle_sha256 = pipeline.predictor.bundle.contract, pipeline.predictor.bundle.sha256
        arithmetic = pipeline.predictor.arithmetic
    if not files:
        raise RequestError(f"{folder} holds no radiograph")
    films = Films(
        files=tuple(files),
        scores_NF=np.array(scores).reshape(-1, len(NAMES)),
        values_NS=np.array([film.values_S for film in observed]).reshape(-1, len(STREAMS)),
        views=tuple(film.view for film in observed),
        stations=tuple(film.station for film in observed),
        labels_NF=np.full((len(files), len(NAMES)), np.nan),
        patients=tuple(files),
    )
    return ReadFilms(
        films=films if labels is None else films.labelled(labels),
        contract=contract,
        bundle_sha256=bundle_sha256,
        arithmetic=arithmetic,
    )


def _scores(
    pipeline: Pipeline, path: Path, console: Console
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """The scores of one film, NaN where it is refused; None where the file is no image at all."""
    try:
        return pipeline.read(path.read_bytes(), explain="none").prediction.scores_F
    except ImageError as error:
        console.print(f"refused {path.name}: {error.title}", style="dim", markup=False)
        return np.full(len(NAMES), np.nan)
    except CxrserveError as error:
        console.print(f"skipped {path.name}: {error.title}", style="dim", markup=False)
        return None
