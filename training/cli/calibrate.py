"""`cxrserve models calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

# Phantoms from here on are drawn by no recipe and by no other command.
FIRST_SEED: Final = 2_000_000


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; its contract is rewritten.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled images that trained no network of the bundle: KIND:PATH, as `evaluate` has it."
        ),
    ] = None,
    phantoms: Annotated[int, typer.Option(min=0, help="Draw this many phantoms instead.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first phantom.")] = FIRST_SEED,
    version: Annotated[str | None, typer.Option(help="New version of the bundle.")] = None,
    stack: Annotated[
        Literal["keep", "calibrated"],
        typer.Option(
            help="calibrated: also calibrate each network by finding and fit the weights of the stack again, "
            "on a third of the studies; run `models triage` and `evaluate` after it."
        ),
    ] = "keep",
    outputs: Annotated[
        Path | None,
        typer.Option(
            help="Folder for what the networks say of the phantoms; an interrupted call goes on from it."
        ),
    ] = None,
) -> None:
    """Calibrate a bundle's probabilities, measure its operating points, and fix a heatmap scale per finding.

    The networks, the stack and all decisions stay as they are: each threshold is carried through the
    calibration. What changes is the probability: a logistic map of the score or, where hundreds of labels
    show that it is better, a beta map. The heatmaps get one linear scale of colours for each finding. With
    --stack calibrated the stack is another one, its operating points are chosen again, and figures and early
    decisions of the old one are removed.
    """
    from training.calibration.images import calibrate_bundle

    calibrate_bundle(
        bundle, data=data, phantoms=phantoms, seed=seed, version=version, stack=stack, outputs=outputs
    )
