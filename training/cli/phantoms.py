"""`cxrserve phantoms`: drawn radiographs as files, to try things out with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def phantoms(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    format: Annotated[Literal["jpeg", "dicom"], typer.Option(help="What kind of files.")] = "jpeg",
    seed: Annotated[int, typer.Option(min=0, help="Of the first; the others count up from it.")] = 0,
) -> None:
    """Draw phantoms: chest radiographs of nobody, with a labels.csv that says what each one shows."""
    from training.phantom.files import write_phantoms

    typer.echo(write_phantoms(folder, count, seed, format))
