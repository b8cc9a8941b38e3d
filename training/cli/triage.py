"""`cxrserve models triage`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

# Phantoms from here on are drawn by no recipe.
FIRST_SEED: Final = 1_000_000


def triage(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; its contract is written anew.")],
    films: Annotated[
        list[Path] | None, typer.Argument(help="Films that trained no network; files and folders.")
    ] = None,
    phantoms: Annotated[int, typer.Option(min=0, help="Draw this many phantoms instead.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first phantom.")] = FIRST_SEED,
    epsilon: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="The promise that is checked and printed.")
    ] = 0.001,
) -> None:
    """Calibrate early decisions (`POST /triage`): the order of scales, and conformal margins.

    Three quarters of the films fit and calibrate, one quarter checks. A promise of epsilon needs at least
    8 / (3 epsilon) films, since half of the three quarters measure the margins: 2,700 for 0.001. No labels
    are needed: what counts is what the full ensemble would have decided.
    """
    from training.triage_films import calibrate_triage

    calibrate_triage(bundle, films=films or (), phantoms=phantoms, seed=seed, epsilon=epsilon)
