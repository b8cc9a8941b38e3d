"""Calibrate a bundle on labelled images of a dataset, or on phantoms drawn for it.

Legend: N images, F findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cxrserve.bundle.contract import Contract, write_contract
from cxrserve.ensemble.predictor import Levels, Predictor
from cxrserve.errors import RequestError
from cxrserve.reports.progress import progress_bar
from cxrserve.settings import Settings
from training.calibration.bundle import Gain, calibrated_contract, gains
from training.calibration.kept import PART, key_of, read_outputs, write_part
from training.calibration.outputs import ImageOutputs, labelled, outputs_of
from training.calibration.restack import parts, restacked_contract
from training.datasets import read_dataset
from training.datasets.labels import LabelPolicy
from training.phantom.pyramids import drawn_pyramids
from training.report.evaluate_bundle import JSON
from training.report.files import FileSamples, decoding
from training.report.heatmaps import HEATMAP_PERCENTILE
from training.steps.model_card import refresh_card

Source = tuple[int, Iterator[tuple[Levels, NDArray[np.floating], int]]]
StackChoice = Literal["keep", "calibrated"]
# Fewer labelled images than this calibrate nothing.
FEWEST = 100


def calibrate_bundle(
    bundle: Path,
    *,
    data: str | None,
    phantoms: int,
    seed: int,
    version: str | None,
    stack: StackChoice = "keep",
    outputs: Path | None = None,
) -> Contract:
    """Calibrate the bundle on a dataset or on phantoms, rewrite its contract, and print what changed.

    Args:
        stack: "calibrated" calibrates the members and fits the weights again, on a third of the studies.
        outputs: folder that keeps what the members say of the phantoms; another call goes on from it.

    Raises:
        RequestError: both or neither are given, or there are fewer than `FEWEST` images, or `outputs` is
            given with a dataset, or holds those of other networks.
        BundleError, EngineError: the bundle cannot be used.
    """
    if bool(data) == bool(phantoms):
        raise RequestError("give --data, or --phantoms with their number: one of the two.")
    if data and outputs:
        raise RequestError("--outputs keeps the networks' outputs for --phantoms alone; leave it away.")
    console = Console(stderr=True)
    predictor = Predictor.open(Settings(bundle=bundle))
    if data:
        with _of_dataset(data, predictor) as source:
            images = look(predictor, source, console)
    else:
        _check_count(phantoms)
        if outputs:
            images = kept_of_phantoms(predictor, phantoms, seed, outputs, console)
        else:
            images = look(predictor, of_phantoms(phantoms, seed, predictor.bundle.contract), console)
    calibrated, table = calibrated_on(bundle, predictor, images, _words(data, seed), stack)
    if version:
        calibrated = calibrated.model_copy(update={"version": version})
    write_contract(bundle, calibrated)
    show(table, Console())
    if not refresh_card(bundle, calibrated):
        console.print(f"{bundle} has no model card of the usual kind; nothing in its README.md was changed")
    if (bundle / JSON).exists():
        console.print(f"{bundle / JSON} measures the bundle as it was: run `cxrserve evaluate` again")
    return calibrated


def calibrated_on(
    bundle: Path, predictor: Predictor, images: Sequence[ImageOutputs], data: str, stack: StackChoice
) -> tuple[Contract, list[Gain]]:
    """The contract of `bundle` calibrated on the outputs of its members, and log losses before and after.

    Args:
        predictor: of the bundle; gave the outputs.
        data: the images in words, without their number.
    """
    if stack == "calibrated":
        fitting, images = parts(images)
        predictor = _restacked(bundle, predictor, fitting, data)
    seen = labelled(predictor, images, data)
    contract = calibrated_contract(predictor.bundle.contract, seen)
    return contract, gains(contract, seen)


def _restacked(bundle: Path, predictor: Predictor, images: Sequence[ImageOutputs], data: str) -> Predictor:
    """The bundle with a stack fitted on `images`, and with the common heatmap scale of its maps."""
    loaded, threads = predictor.choice.load(bundle), Settings().threads
    contract = restacked_contract(loaded.contract, images, data)
    fitted = Predictor(replace(loaded, contract=contract), predictor.choice, threads=threads)
    maxima = labelled(fitted, images, data).maxima_NF
    scale = float(f"{np.nanpercentile(maxima, HEATMAP_PERCENTILE):.4g}") if (maxima > 0).any() else 1.0
    contract = contract.model_copy(update={"heatmap_scale": scale})
    return Predictor(replace(loaded, contract=contract), predictor.choice, threads=threads)


def look(predictor: Predictor, source: Source, console: Console) -> list[ImageOutputs]:
    """The outputs of the members for labelled images.

    Raises:
        RequestError: there are fewer than `FEWEST` images.
    """
    count, images = source
    _check_count(count)
    with progress_bar(console) as progress:
        return [
            outputs_of(predictor, levels, labels_F, study)
            for levels, labels_F, study in progress.track(images, total=count, description="scoring")
        ]


def kept_of_phantoms(
    predictor: Predictor, count: int, seed: int, store: Path, console: Console
) -> list[ImageOutputs]:
    """The outputs for `count` phantoms, of which the first may lie in the folder `store`."""
    key = key_of(predictor, seed)
    images = read_outputs(store, key)[:count]
    first = len(images)
    if first:
        console.print(f"{first} of {count} phantoms were scored before; their outputs lie in {store}")
    rest, drawn = of_phantoms(count - first, seed + first, predictor.bundle.contract)
    with progress_bar(console) as progress:
        for levels, labels_F, study in progress.track(drawn, total=rest, description="scoring"):
            images.append(outputs_of(predictor, levels, labels_F, study))
            if len(images) % PART == 0:
                write_part(store, key, len(images) - PART, images[-PART:])
    return images


def _check_count(count: int) -> None:
    if count < FEWEST:
        raise RequestError(f"there are {count} labelled images; a calibration needs at least {FEWEST}.")


def of_phantoms(count: int, seed: int, contract: Contract) -> Source:
    """Phantoms with seeds from `seed` on, each a study of its own, as the networks of `contract` see them."""

    def drawn() -> Iterator[tuple[Levels, NDArray[np.floating], int]]:
        for number, (levels, labels_F) in enumerate(
            drawn_pyramids(count, seed, contract.preprocessing), seed
        ):
            yield levels, labels_F, number

    return count, drawn()


def _words(data: str | None, seed: int) -> str:
    return f"images of {data.partition(':')[0]}" if data else phantoms_in_words(seed)


def phantoms_in_words(seed: int) -> str:
    """Phantoms with seeds from `seed` on, without their number."""
    return f"phantoms, seeds from {seed}"


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
            yield len(samples), read()
        finally:
            samples.close()


def show(table: list[Gain], console: Console) -> None:
    """Print map, slopes, intercept and log loss by finding."""
    rows = Table(header_style="dim", title="Calibration", title_justify="left")
    for heading in ("finding", "events", "map", "slope", "intercept", "log loss before", "after"):
        rows.add_column(heading, justify="left" if heading in ("finding", "map") else "right")
    for gain in table:
        calibration = gain.calibration
        rows.add_row(
            gain.finding,
            str(calibration.events),
            calibration.method,
            " to ".join(f"{slope:.3f}" for slope in (calibration.slope, calibration.slope_high) if slope),
            f"{calibration.intercept:+.3f}",
            f"{gain.before:.4f}",
            f"{gain.after:.4f}",
        )
    console.print(rows)
