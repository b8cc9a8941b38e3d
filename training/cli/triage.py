"""`cxrserve models triage`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, cast

import typer

from cxrserve.settings import Precision

# Phantoms from here on are drawn by no recipe.
FIRST_SEED: Final = 1_000_000


def triage(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; its contract is rewritten.")],
    films: Annotated[
        list[Path] | None,
        typer.Argument(help="Films that had no part in making it, one a patient; files and folders."),
    ] = None,
    phantoms: Annotated[int, typer.Option(min=0, help="Draw this many phantoms instead.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first phantom.")] = FIRST_SEED,
    epsilon: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="The promise that is checked and printed.")
    ] = 0.001,
    precision: Annotated[
        list[str] | None,  # Typer takes no list of Literals
        typer.Option(help="What the margins are to hold in, as CXRSERVE_PRECISION; repeat for several."),
    ] = None,
    logits: Annotated[
        Path | None, typer.Option(help="File for the phantoms' logits; an interrupted call goes on from it.")
    ] = None,
) -> None:
    """Calibrate early decisions (`POST /triage`): the order of scales, and conformal margins.

    The films must have had no part in making the bundle, and be one a patient: several of one patient are
    counted as if they were several patients'. 15 % of them fit, half of them measure the margins, the rest
    checks. A promise of epsilon needs 2 / epsilon films: 2,000 for 0.001. No labels are needed: what counts
    is what the full ensemble would have decided. The promise covers the engine and the precisions that it
    was measured with.
    """
    from training.triage.images import calibrate_triage

    calibrate_triage(
        bundle,
        paths=films or (),
        phantoms=phantoms,
        seed=seed,
        epsilon=epsilon,
        precisions=[cast(Precision, name) for name in precision or ("auto",)],
        logits=logits,
    )
