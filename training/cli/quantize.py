"""`cxrserve models quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

# Phantoms from here on are drawn by no recipe and by no other command.
FIRST_SEED: Final = 2_000_000


def quantize(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; its contract is rewritten.")],
    films: Annotated[
        list[Path] | None, typer.Argument(help="Films to calibrate on, no labels needed; files and folders.")
    ] = None,
    phantoms: Annotated[int, typer.Option(min=0, help="Draw this many phantoms instead.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first phantom.")] = FIRST_SEED,
    labelled: Annotated[
        str | None,
        typer.Option(
            help="Images with labels for the gate: KIND:PATH as for `evaluate`, or cache:FOLDER of phantoms."
        ),
    ] = None,
    precision: Annotated[
        Literal["bf16", "fp16", "int8", "mixed"],
        typer.Option(
            help="int8: whole members; mixed: sensitive layers may stay as they are; bf16: nothing is made, "
            "only bfloat16 gated; fp16: variants for GPUs."
        ),
    ] = "mixed",
    max_change: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Largest change of a scale's probability that is admitted.")
    ] = 0.1,
    max_auc_fall: Annotated[
        float, typer.Option(min=0, max=1, help="Largest fall of the mean AUC over findings, likewise.")
    ] = 0.001,
) -> None:
    """Gate bfloat16, make int8 variants of a bundle's members, and admit those that pass the gate.

    For each scale: bfloat16, which needs no file of its own; then all layers in int8; with `mixed`, if that
    fails, the first and last layer as they were, then more from both ends. The first that passes is taken; if
    none does, the scale stays unchanged, and the bundle says why. The gate compares with the member in single
    precision, on a quarter of the films or on the --labelled images, none of which calibrates.

    With `fp16`, on any machine: a variant in half precision for GPUs, gated on all that is given.

    Early decisions of the bundle are taken out: they were calibrated on other scores. `models triage`
    makes new ones.
    """
    from training.precision.gate import Limits
    from training.precision.quantize.quantize import quantize_bundle

    quantize_bundle(
        bundle,
        paths=films or (),
        phantoms=phantoms,
        seed=seed,
        labelled=labelled,
        precision=precision,
        limits=Limits(probability=max_change, auc=max_auc_fall),
    )
