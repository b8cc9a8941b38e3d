"""Calibrate a bundle's early decisions on films that trained no network.

No labels are needed: what counts is what the full ensemble would have decided.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cxrserve.ensemble.bundle import EarlyDecisions, load_bundle, write_contract
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.ensemble.predictor import Levels, Predictor
from cxrserve.errors import CxrserveError, RequestError
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing, build_pyramid
from cxrserve.reports.progress import progress_bar
from cxrserve.settings import Settings
from training.children import end_with_parent
from training.phantom import make_phantom
from training.triage import FEWEST, check_triage, fit_early_decisions

Floats = NDArray[np.float64]
# Of the films, the share that neither fits nor calibrates, and checks what was promised.
CHECKED: Final = 0.25


def calibrate_triage(
    bundle: Path, *, films: Sequence[Path], phantoms: int, seed: int, epsilon: float
) -> EarlyDecisions:
    """Calibrate the bundle's early decisions on films, or on phantoms drawn for it; write its contract anew.

    Raises:
        RequestError: both or neither are given, or too few can be read.
        BundleError, EngineError: the bundle cannot be used.
    """
    console = Console(stderr=True)
    settings = Settings(bundle=bundle)
    if bool(films) == bool(phantoms):
        raise RequestError("give films, or --phantoms with their number: one of the two.")
    if films:
        logits_NFS = _of_films(films, settings, console)
        data = f"{len(logits_NFS)} films"
    else:
        logits_NFS = _of_phantoms(phantoms, seed, settings, console)
        data = f"{phantoms} phantoms, seeds from {seed}"
    if len(logits_NFS) < FEWEST:
        raise RequestError(f"{len(logits_NFS)} films could be read; early decisions need at least {FEWEST}.")
    early = calibrated(settings, logits_NFS, data=data, epsilon=epsilon)
    contract = load_bundle(bundle).contract
    write_contract(bundle, contract.model_copy(update={"triage": early}))
    _show(early, Console())
    return early


def _show(early: EarlyDecisions, console: Console) -> None:
    table = Table(header_style="dim", title=f"on {early.checked[0].data}", title_justify="left")
    for heading in ("guarantee", "decided", "work", "worst", "differing", "95 %: below"):
        table.add_column(heading, justify="left" if heading in ("guarantee", "decided") else "right")
    for check in early.checked:
        promise = "" if check.epsilon is None else f" {check.epsilon:g}"
        table.add_row(
            check.guarantee + promise,
            check.findings,
            f"{check.work:.1%}",
            f"{check.work_worst:.0%}",
            f"{check.differing} of {check.images}",
            f"{check.differing_below:.4f}",
        )
    console.print(table)


def calibrated(settings: Settings, logits_NFS: Floats, *, data: str, epsilon: float) -> EarlyDecisions:
    """Fit, calibrate and check early decisions of the bundle of `settings`, from its logits [N, F, S]."""
    predictor = Predictor.open(settings)
    shuffled = logits_NFS[np.random.default_rng(0).permutation(len(logits_NFS))]
    checked, used = np.split(shuffled, [round(len(shuffled) * CHECKED)])
    weights_FS, thresholds_F, sizes = predictor.weights_FS, predictor.thresholds_F, predictor.sizes
    early = fit_early_decisions(used, weights_FS, thresholds_F, sizes, data=data, seed=0)
    reachable = max(epsilon, 1 / (early.images + 1))
    checks = check_triage(
        early, checked, weights_FS, thresholds_F, sizes, data=f"other {data}", epsilon=reachable
    )
    return early.model_copy(update={"checked": checks})


def _of_films(paths: Iterable[Path], settings: Settings, console: Console) -> Floats:
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    ]
    found: list[Floats] = []
    refused = 0
    with (
        Pipeline(settings) as pipeline,
        ThreadPoolExecutor(settings.decode_workers + 1) as threads,
        progress_bar(console) as progress,
    ):

        def read(file: Path) -> Floats | None:
            try:
                return pipeline.read(file.read_bytes(), explain="none").prediction.logits_FS
            except CxrserveError:
                return None

        for logits_FS in progress.track(threads.map(read, files), total=len(files), description="reading"):
            refused += logits_FS is None
            if logits_FS is not None:
                found.append(logits_FS)
    if refused:
        console.print(f"{refused} of {len(files)} files were refused or are no films; `predict` says why")
    return np.array(found)


def _of_phantoms(count: int, seed: int, settings: Settings, console: Console) -> Floats:
    predictor = Predictor.open(settings)
    with progress_bar(console) as progress:
        drawn = _drawn(count, seed, predictor.bundle.contract.preprocessing)
        levels = progress.track(drawn, total=count, description="drawing and scoring phantoms")
        return np.array([predictor.predict(each, explain="none").logits_FS for each in levels])


def _drawn(count: int, seed: int, preprocessing: Preprocessing) -> Iterator[Levels]:
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        # In small portions: a pyramid has 6 MB, and a pool does not wait for those who read it.
        for first in range(seed, seed + count, 8 * workers):
            seeds = range(first, min(first + 8 * workers, seed + count))
            yield from pool.map(_pyramid, seeds, [preprocessing] * len(seeds))


def _begin(parent: int) -> None:
    end_with_parent(parent)
    cv2.setNumThreads(1)


def _pyramid(seed: int, preprocessing: Preprocessing) -> Levels:
    grey_HW, _ = apply_profile(make_phantom(seed).radiograph, preprocessing.profile)
    return build_pyramid(grey_HW, preprocessing)
