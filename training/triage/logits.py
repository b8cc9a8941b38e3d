"""Logits of radiographs and phantoms at every scale, for the calibration of early decisions.

Legend: A arithmetics (engine and precision), N images, F findings, S scales.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cxrserve.ensemble.predictor import Levels, Predictor
from cxrserve.errors import CxrserveError
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.workers import DecodePool
from cxrserve.reports.progress import progress_bar
from cxrserve.settings import Settings
from training.phantom.pyramids import drawn_pyramids

Floats = NDArray[np.float64]
# Phantoms after which the logits are written, so that an interrupted call loses little.
_KEPT_EVERY: Final = 100


def of_phantoms(
    count: int,
    seed: int,
    predictors: Sequence[Predictor],
    console: Console,
    store: Path | None = None,
) -> Floats:
    """Logits [A, N, F, S] of `count` phantoms, of which the first may lie in the file `store`."""
    key = _key(seed, predictors)
    logits = _read(store, key)[:count] if store else []
    with progress_bar(console) as progress:
        preprocessing = predictors[0].bundle.contract.preprocessing
        drawn = drawn_pyramids(count - len(logits), seed + len(logits), preprocessing)
        for levels, _ in progress.track(
            drawn, total=count - len(logits), description="drawing and scoring phantoms"
        ):
            logits.append(_logits(levels, predictors))
            if store and (len(logits) % _KEPT_EVERY == 0 or len(logits) == count):
                _write(store, key, logits)
    return np.stack(logits, axis=1)


def of_films(paths: Iterable[Path], predictors: Sequence[Predictor], console: Console) -> Floats:
    """Logits [A, N, F, S] of the films in files and folders; what is none is counted and left out."""
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    ]
    logits: list[Floats] = []
    settings = Settings()
    pool = DecodePool(
        predictors[0].bundle.contract.preprocessing,
        Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels),
        workers=1,
        timeout_s=settings.decode_timeout_s,
        memory_bytes=settings.decode_memory_bytes,
    )
    with pool, progress_bar(console) as progress:
        for file in progress.track(files, description="reading"):
            try:
                levels = pool.prepare(file.read_bytes()).levels
            except (CxrserveError, OSError):
                continue
            logits.append(_logits(levels, predictors))
    if len(logits) < len(files):
        refused = f"{len(files) - len(logits)} of {len(files)} files"
        console.print(f"{refused} were refused or are no films; `predict` says why")
    return np.stack(logits, axis=1) if logits else np.empty((len(predictors), 0, 0, 0))


def _logits(levels: Levels, predictors: Sequence[Predictor]) -> Floats:
    """The logits of each predictor for one image, [A, F, S]."""
    return np.array([predictor.predict(levels, explain="none").logits_FS for predictor in predictors])


def _key(seed: int, predictors: Sequence[Predictor]) -> str:
    """The inputs that the logits of the first, second, … phantom depend on."""
    contract = predictors[0].bundle.contract
    origin = {
        "seed": seed,
        "members": [member.sha256 for member in contract.members],
        "preprocessing": contract.preprocessing.model_dump(mode="json"),
        "arithmetics": [str(predictor.arithmetic) for predictor in predictors],
    }
    # Logits are kept as they are stacked. Left out where there is none: files of such bundles stay valid.
    calibrations = [member.model_dump(mode="json")["calibration"] for member in contract.members]
    if any(calibrations):
        origin["calibrations"] = calibrations
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def _read(file: Path, key: str) -> list[Floats]:
    if not file.exists():
        return []
    with np.load(file) as stored:
        return list(stored["logits_NAFS"]) if str(stored["key"]) == key else []


def _write(file: Path, key: str, logits: Sequence[Floats]) -> None:
    aside = file.with_name(file.name + ".part")
    with aside.open("wb") as stream:
        np.savez(stream, key=np.array(key), logits_NAFS=np.array(logits))
    aside.replace(file)
