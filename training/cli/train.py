"""`cxrserve train`, and each of its steps as `cxrserve train STEP`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from training.cli.options import (
    CORES,
    DataOption,
    FoldsOption,
    OutOption,
    ReadOption,
    RecipeOption,
    ReportOption,
    SetOption,
    WorkersOption,
    WorkOption,
    make_run,
)

if TYPE_CHECKING:
    from training.steps.run import Run

# Columns of text that the table of results needs with four scales.
TABLE_COLUMNS = 116
STEPS = {
    "prepare": "Index the data, part it by patient, put every pyramid into the cache.",
    "fit": "Fit the network of each size, fold and seed. Under torchrun: on several GPUs.",
    "stack": "Fit the weights of the scales on the validation images.",
    "calibrate": "Choose the operating points; calibration is the identity for now.",
    "export": "Write ONNX, compare it with torch, write the contract.",
    "evaluate": "Score the bundle through the path that serves, and write it to --out.",
}

train = typer.Typer(
    help="Train a bundle from a recipe, as a whole or step by step. What is done is not done again.",
    invoke_without_command=True,
)


@train.callback()
def whole(
    context: typer.Context,
    recipe: RecipeOption = "demo",
    data: DataOption = None,
    out: OutOption = None,
    work: WorkOption = None,
    assignments: SetOption = None,
    reading: ReadOption = None,
    folds: FoldsOption = None,
    workers: WorkersOption = CORES,
    report: ReportOption = "full",
    list_: Annotated[bool, typer.Option("--list", help="List the recipes and stop.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and what it needs; do nothing.")
    ] = False,
) -> None:
    """Train a bundle from a recipe, measure it through the path that serves, and write it.

    Steps: prepare, fit, stack, calibrate, export, evaluate. What is done is not done again, and a run that
    was killed goes on where it was.
    """
    if context.invoked_subcommand is not None:
        return
    console = console_for_tables()
    if list_:
        from training.cli.tables import recipes_table

        console.print(recipes_table())
        return
    run = make_run(recipe, data, out, work, assignments, reading, folds, workers, report)
    if dry_run:
        _print_plan(run, console)
        return
    from training.steps.whole import STEPS as ALL

    _do(run, console, list(ALL))
    _print_result(run, console)


def _step_command(name: str) -> Callable[..., None]:
    def step(
        recipe: RecipeOption = "demo",
        data: DataOption = None,
        out: OutOption = None,
        work: WorkOption = None,
        assignments: SetOption = None,
        reading: ReadOption = None,
        folds: FoldsOption = None,
        workers: WorkersOption = CORES,
        report: ReportOption = "full",
    ) -> None:
        _do(
            make_run(recipe, data, out, work, assignments, reading, folds, workers, report),
            console_for_tables(),
            [name],
        )

    return step


for _name, _help in STEPS.items():
    train.command(_name, help=_help)(_step_command(_name))


def console_for_tables() -> Console:
    """Wide enough for the table of results, also where there is no terminal and rich assumes 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=TABLE_COLUMNS)


def _do(run: Run, console: Console, names: list[str]) -> None:
    from cxrserve.errors import CxrserveError
    from training.progress import RunProgress
    from training.steps.whole import do

    with RunProgress(console) as progress:
        for name in names:
            try:
                do(name, run, progress)
            except CxrserveError:
                raise
            except ValueError as error:
                raise typer.BadParameter(f"{name}: {error}") from None


def _print_plan(run: Run, console: Console) -> None:
    from training.cli.tables import plan_tables
    from training.steps.plan import make_plan

    for table in plan_tables(make_plan(run)):
        console.print(table)


def _print_result(run: Run, console: Console) -> None:
    from cxrserve.ensemble.bundle import read_contract
    from training.cli.tables import result_table

    contract, _ = read_contract(run.out)
    console.print(result_table(contract))
    console.print(
        f"the bundle is in {run.out}; `cxrserve serve --bundle {run.out}` serves it", highlight=False
    )


def init(
    recipe: Annotated[str, typer.Option(help="Name of the recipe; `cxrserve train --list` shows them.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
) -> None:
    """Write a recipe's networks at full size and untrained, as a bundle: for benchmarks and tests."""
    from training.recipes import recipe as named

    try:
        chosen = named(recipe)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--recipe") from None
    from training.initial import write_untrained
    from training.progress import RunProgress

    console = Console()
    with RunProgress(console) as progress:
        contract = write_untrained(chosen, out, seed, progress)
    members = ", ".join(f"{member.size} ({member.parameters:,} parameters)" for member in contract.members)
    console.print(f"{out}: {members}. Untrained: its answers mean nothing.")
