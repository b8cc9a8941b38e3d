"""Calibrate a bundle on labelled images of a dataset, or on phantoms drawn for it.

Legend: N images, F findings, G side of a heatmap.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cxrserve.bundle.contract import Contract, load_bundle, write_contract
from cxrserve.ensemble.predictor import Levels, Predictor
from cxrserve.errors import RequestError
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import build_pyramid
from cxrserve.reports.progress import progress_bar
from cxrserve.settings import Settings
from training.calibration.bundle import Gain, Labelled, calibrated_contract, gains
from training.datasets import read_dataset
from training.datasets.labels import LabelPolicy
from training.phantom import make_phantom
from training.report.files import FileSamples, decoding

Source = tuple[int, Iterator[tuple[Levels, NDArray[np.floating], int]], str]
# Fewer labelled images than this calibrate nothing.
FEWEST = 100


def calibrate_bundle(
    bundle: Path, *, data: str | None, phantoms: int, seed: int, version: str | None
) -> Contract:
    """Calibrate the bundle on a dataset or on phantoms, rewrite its contract, and print what changed.

    Raises:
        RequestError: both or neither are given, or there are fewer than `FEWEST` images.
        BundleError, EngineError: the bundle cannot be used.
    """
    if bool(data) == bool(phantoms):
        raise RequestError("give --data, or --phantoms with their number: one of the two.")
    console = Console(stderr=True)
    predictor = Predictor.open(Settings(bundle=bundle))
    if data:
        with _of_dataset(data, predictor) as source:
            images = score(predictor, source, console)
    else:
        images = score(predictor, _of_phantoms(phantoms, seed, predictor), console)
    contract = load_bundle(bundle).contract
    calibrated = calibrated_contract(contract, images)
    if version:
        calibrated = calibrated.model_copy(update={"version": version})
    write_contract(bundle, calibrated)
    show(gains(calibrated, images), Console())
    return calibrated


def score(predictor: Predictor, source: Source, console: Console) -> Labelled:
    """Scores of labelled images, and the maxima of the heatmaps of present findings.

    Raises:
        RequestError: there are fewer than `FEWEST` images.
    """
    count, images, data = source
    if count < FEWEST:
        raise RequestError(f"there are {count} labelled images; a calibration needs at least {FEWEST}.")
    scores, labels, studies, maxima = [], [], [], []
    with progress_bar(console) as progress:
        for levels, labels_F, study in progress.track(images, total=count, description="scoring"):
            present = [int(index) for index in np.flatnonzero(labels_F > 0.5)]
            prediction = predictor.predict(levels, explain=present)
            maxima_F = np.full(len(labels_F), np.nan)
            for index, map_GG in prediction.maps.items():
                maxima_F[index] = map_GG.max()
            scores.append(prediction.scores_F)
            labels.append(labels_F)
            studies.append(study)
            maxima.append(maxima_F)
    return Labelled(
        scores_NF=np.array(scores),
        labels_NF=np.array(labels, np.float64),
        study_N=np.array(studies, np.int64),
        maxima_NF=np.array(maxima),
        data=data,
    )


def _of_phantoms(count: int, seed: int, predictor: Predictor) -> Source:
    preprocessing = predictor.bundle.contract.preprocessing

    def drawn() -> Iterator[tuple[Levels, NDArray[np.floating], int]]:
        for number in range(seed, seed + count):
            phantom = make_phantom(number)
            grey_HW, _ = apply_profile(phantom.radiograph, preprocessing.profile)
            yield build_pyramid(grey_HW, preprocessing), phantom.labels_F.astype(np.float32), number

    return count, drawn(), f"phantoms, seeds from {seed}"


@contextmanager
def _of_dataset(spec: str, predictor: Predictor) -> Iterator[Source]:
    manifest, settings = read_dataset(spec), Settings()
    preprocessing = predictor.bundle.contract.preprocessing
    with decoding(preprocessing, settings) as pool:
        samples = FileSamples(pool, manifest, LabelPolicy(), settings.decode_workers)

        def read() -> Iterator[tuple[Levels, NDArray[np.floating], int]]:
            for index in range(len(samples)):
                levels = {size: samples.level(size)[index] for size in preprocessing.sizes}
                yield levels, samples.labels_NF[index], int(samples.study_N[index])

        try:
            yield len(samples), read(), f"images of {spec.partition(':')[0]}"
        finally:
            samples.close()


def show(table: list[Gain], console: Console) -> None:
    """Print slope, intercept and log loss by finding."""
    rows = Table(header_style="dim", title="Calibration", title_justify="left")
    for heading in ("finding", "events", "slope", "intercept", "log loss before", "after"):
        rows.add_column(heading, justify="left" if heading == "finding" else "right")
    for gain in table:
        calibration = gain.calibration
        rows.add_row(
            gain.finding,
            str(calibration.events),
            f"{calibration.slope:.3f}",
            f"{calibration.intercept:+.3f}",
            f"{gain.before:.4f}",
            f"{gain.after:.4f}",
        )
    console.print(rows)
