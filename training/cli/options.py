"""Options that `cxrserve train` and each of its steps share."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

if TYPE_CHECKING:
    from training.steps.run import Run

CORES: Final = os.cpu_count() or 1
# Folders of runs, and of the pyramids that they share.
RUNS: Final = Path("runs")


def run_options(
    recipe: Annotated[str, typer.Option("--recipe", help="Name of the recipe; --list shows them.")] = "demo",
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="KIND:PATH",
            help="A dataset: mimic-cxr-jpg, mimic-cxr, chexpert, chexpert-plus, nih, folder or "
            "phantoms, and its path. "
            "Several may be given. Recipes that draw their own phantoms take none.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the bundle to write; default models/RECIPE.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite a bundle in --out that another run wrote.")
    ] = False,
    work: Annotated[
        Path | None,
        typer.Option("--work", help="Folder for pyramids, splits and networks; default runs/RECIPE."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            help="Folder for pyramids, which recipes with the same data and sizes share; default runs/cache, "
            "or WORK/cache with --work.",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any field of the recipe, such as fits.256.batch=16."
        ),
    ] = None,
    reading: Annotated[
        list[str] | None,
        typer.Option(
            "--read",
            metavar="KEY=VALUE",
            help="How datasets are read: max_bad_share, labeler, section, tables, official_test, "
            "radiologist_test_labels, "
            "check_files.",
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", min=1, help="Run only the first N of the recipe's folds.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that decode, draw or fit side by side.")
    ] = CORES,
    each_fold: Annotated[
        bool,
        typer.Option(
            "--each-fold",
            help="Write the bundle of every other fold and seed beside --out too, such as OUT-fold-2. "
            "`evaluate --folds` measures them together.",
        ),
    ] = False,
    other_counts: Annotated[
        bool,
        typer.Option(
            "--other-counts",
            help="Train also on data that is not what the recipe's paper counts: a part of it, or another "
            "release.",
        ),
    ] = False,
    variants: Annotated[
        bool,
        typer.Option(
            "--variants/--no-variants",
            help="Make and gate half-precision and 8-bit integer variants of the networks on export.",
        ),
    ] = True,
    field_images: Annotated[
        int,
        typer.Option(
            "--field-images",
            min=0,
            help="Images that each effective receptive field is averaged over; 0 leaves it out. Large ones "
            "take half a minute an image on a CPU.",
        ),
    ] = 16,
    report: Annotated[
        Literal["full", "brief"],
        typer.Option(
            "--report",
            help="brief leaves out the receptive fields and the footprints of each network, which take "
            "minutes.",
        ),
    ] = "full",
) -> "Run":
    """The run that these options ask for.

    Raises:
        typer.BadParameter: they contradict each other, or name something that is not there.
    """
    from training.datasets import ReadOptions
    from training.recipes.overrides import override
    from training.recipes.resolve import resolve
    from training.steps.run import Run

    try:
        return Run(
            recipe=resolve(recipe, assignments or ()),
            out=out or Path("models") / recipe,
            work=work or RUNS / recipe,
            cache=cache or (RUNS / "cache" if work is None else None),
            data=tuple(data or ()),
            folds=folds,
            workers=workers,
            report=report,
            replace=replace,
            each_fold=each_fold,
            other_counts=other_counts,
            field_images=field_images,
            variants=variants,
            options=override(ReadOptions(), reading or ()),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def with_run_options(function: Callable[..., None]) -> Callable[..., None]:
    """`function(make_run, …)` as a command that has the options of a run beside its own.

    `make_run()` returns the run, or raises `typer.BadParameter`.
    """
    shared = inspect.signature(run_options).parameters
    own = list(inspect.signature(function).parameters.values())[1:]

    @functools.wraps(function)
    def command(**options: Any) -> None:
        run = functools.partial(run_options, **{name: options.pop(name) for name in shared})
        function(run, **options)

    positional = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
    named = [parameter for parameter in own if parameter.default is not inspect.Parameter.empty]
    command.__signature__ = inspect.Signature([*positional, *shared.values(), *named])  # type: ignore[attr-defined]
    # Typer reads types from here.
    command.__annotations__ = {
        parameter.name: parameter.annotation for parameter in (*positional, *shared.values(), *named)
    }
    return command
