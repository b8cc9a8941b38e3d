"""The options that the whole command and each of its steps share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from training.steps.run import Run

RecipeOption = Annotated[str, typer.Option("--recipe", help="Name of the recipe; --list shows them.")]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="KIND:PATH",
        help="A dataset: mimic-cxr-jpg, mimic-cxr, chexpert, nih, folder or phantoms, and where it is. "
        "Several may be given. Recipes that draw their own phantoms take none.",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder of the bundle to write; models/RECIPE else.")
]
WorkOption = Annotated[
    Path | None,
    typer.Option("--work", help="Folder for pyramids, splits and networks in between; runs/RECIPE else."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any field of the recipe, such as fits.256.batch=16."),
]
ReadOption = Annotated[
    list[str] | None,
    typer.Option(
        "--read",
        metavar="KEY=VALUE",
        help="How datasets are read: max_bad_share, labeler, tables, radiologist_test_labels, check_files.",
    ),
]
FoldsOption = Annotated[
    int | None, typer.Option("--folds", min=1, help="Run only the first so many of the recipe's folds.")
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Processes that decode, draw or fit side by side.")
]
ReportOption = Annotated[
    Literal["full", "brief"],
    typer.Option(
        "--report",
        help="brief leaves out the receptive fields and the footprints of each network, which take minutes.",
    ),
]
CORES = os.cpu_count() or 1


def make_run(
    recipe: str,
    data: list[str] | None,
    out: Path | None,
    work: Path | None,
    assignments: list[str] | None,
    reading: list[str] | None,
    folds: int | None,
    workers: int,
    report: Literal["full", "brief"],
) -> Run:
    """The run that these options ask for.

    Raises:
        typer.BadParameter: they contradict each other, or name something that is not there.
    """
    from training.datasets import ReadOptions
    from training.overrides import override
    from training.resolve import resolve
    from training.steps.run import Run

    try:
        return Run(
            recipe=resolve(recipe, assignments or ()),
            out=out or Path("models") / recipe,
            work=work or Path("runs") / recipe,
            data=tuple(data or ()),
            folds=folds,
            workers=workers,
            report=report,
            options=override(ReadOptions(), reading or ()),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
