"""Calibrate a bundle's early decisions on films or phantoms that had no part in making it.

No labels are needed: what counts is what the full ensemble would have decided.

Legend: A arithmetics (engine and precision), N images, F findings, S scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cxrserve.bundle.contract import load_bundle, write_contract
from cxrserve.bundle.triage_calibration import TriageCalibration, TriageCheck
from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import RequestError
from cxrserve.settings import Precision, Settings
from training.triage.calibrate import FEWEST, OF_PHANTOMS, calibrate, fit_early_decisions
from training.triage.check import check_triage
from training.triage.logits import of_films, of_phantoms

Floats = NDArray[np.float64]
# Of the films, the shares that fit the predictions and that measure the margins; the rest checks.
FITTED: Final = 0.15
MEASURED: Final = 0.5


def calibrate_triage(
    bundle: Path,
    *,
    paths: Sequence[Path],
    phantoms: int,
    seed: int,
    epsilon: float,
    precisions: Sequence[Precision] = ("auto",),
    logits: Path | None = None,
) -> TriageCalibration:
    """Calibrate the bundle's triage on images, or on phantoms drawn for it, and rewrite its contract.

    Args:
        precisions: those that the margins are to hold in; the first is what the work is counted for.
        logits: a file that keeps the phantoms' logits, from which an interrupted call goes on.

    Raises:
        RequestError: both or neither are given, or too few can be read.
        BundleError, EngineError: the bundle cannot be used.
    """
    console = Console(stderr=True)
    if bool(paths) == bool(phantoms):
        raise RequestError("give films, or --phantoms with their number: one of the two.")
    opened = [Predictor.open(Settings(bundle=bundle, precision=precision)) for precision in precisions]
    # `auto` may come to what another precision says by name.
    predictors = list({str(predictor.arithmetic): predictor for predictor in opened}.values())
    if paths:
        logits_ANFS = of_films(paths, predictors, console)
        data = f"{logits_ANFS.shape[1]} films, taken to be one a patient"
    else:
        logits_ANFS = of_phantoms(phantoms, seed, predictors, console, logits)
        data = f"{phantoms} phantoms, seeds from {seed}"
    if logits_ANFS.shape[1] < FEWEST:
        raise RequestError(
            f"{logits_ANFS.shape[1]} films could be read; early decisions need at least {FEWEST}."
        )
    caveats = () if paths else (OF_PHANTOMS,)
    calibration = calibrated(predictors, logits_ANFS, data=data, epsilon=epsilon, caveats=caveats)
    contract = load_bundle(bundle).contract
    write_contract(bundle, contract.model_copy(update={"triage": calibration}))
    show_checks(calibration.checked, Console())
    return calibration


def calibrated(
    predictors: Sequence[Predictor],
    logits_ANFS: Floats,
    *,
    data: str,
    epsilon: float,
    caveats: tuple[str, ...] = (),
) -> TriageCalibration:
    """Fit, calibrate and check early decisions from logits [A, N, F, S], of each predictor's arithmetic."""
    first, count = predictors[0], logits_ANFS.shape[1]
    shuffled = logits_ANFS[:, np.random.default_rng(0).permutation(count)]
    cuts = [round(count * FITTED), round(count * (FITTED + MEASURED))]
    fitted, measured, checked = np.split(shuffled, cuts, axis=1)
    stack = (first.weights_FS, first.score_thresholds_F, first.sizes)
    calibration = fit_early_decisions(fitted[0], *stack, data=f"{fitted.shape[1]} of {data}")
    calibration = calibrate(
        calibration,
        measured,
        *stack,
        data=f"{measured.shape[1]} of {data}",
        arithmetics=tuple(predictor.arithmetic for predictor in predictors),
        caveats=caveats,
    )
    # The tightest promise these films allow, where the one asked for is tighter.
    reachable = max(epsilon, 1 / (calibration.images + 1))
    checks = check_triage(
        calibration, checked, *stack, data=f"{checked.shape[1]} others of {data}", epsilon=reachable
    )
    return calibration.model_copy(update={"checked": checks})


def show_checks(checks: Sequence[TriageCheck], console: Console) -> None:
    """A table of them; the shares that differed with both ends of their interval."""
    table = Table(header_style="dim", title=f"on {checks[0].data}", title_justify="left")
    for heading in ("guarantee", "decided", "work", "worst", "differing", "95 %"):
        table.add_column(heading, justify="left" if heading in ("guarantee", "decided") else "right")
    for check in checks:
        promise = "" if check.epsilon is None else f" {check.epsilon:g}"
        table.add_row(
            check.guarantee + promise,
            check.findings,
            f"{check.work:.1%}",
            f"{check.work_worst:.0%}",
            f"{check.differing} of {check.images}",
            f"{check.differing_above or 0:.2%} – {check.differing_below:.2%}",
        )
    console.print(table)
