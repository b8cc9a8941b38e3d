"""`cxrserve train`, and each of its steps as `cxrserve train STEP`."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from training.cli.options import with_run_options

if TYPE_CHECKING:
    from training.steps.run import Run

# Columns of text that the table of results needs with four scales.
TABLE_COLUMNS = 116
STEPS = {
    "prepare": "Index the data, split it by patient, write every pyramid into the cache.",
    "fit": "Fit the network of each size, fold and seed. Under torchrun: on several GPUs.",
    "stack": "Fit the weights of the scales on the validation images.",
    "calibrate": "Choose the operating points; calibration is the identity for now.",
    "film-check": "Train and measure the network that looks at every film before the members do.",
    "export": "Write ONNX, compare it with torch, write the contract.",
    "evaluate": "Score the bundle through the path that serves, and write it to --out.",
}

train = typer.Typer(
    help="Train a bundle from a recipe, as a whole or step by step. What is done is not done again.",
    invoke_without_command=True,
)


@train.callback()
@with_run_options
def train_all(
    make_run: Callable[[], "Run"],
    context: typer.Context,
    list_: Annotated[bool, typer.Option("--list", help="List the recipes and stop.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and what it needs; do nothing.")
    ] = False,
) -> None:
    """Train a bundle from a recipe, measure it through the path that serves, and write it.

    Steps: prepare, fit, stack, calibrate, film-check, export, evaluate. What is done is not done
    again, and a run that was killed continues where it was.
    """
    if context.invoked_subcommand is not None:
        return
    console = console_for_tables()
    if list_:
        from training.cli.tables import recipes_table

        console.print(recipes_table())
        return
    run = make_run()
    if dry_run:
        _print_plan(run, console)
        return
    from training.steps.run_steps import COMMANDS

    _run_commands(run, console, list(COMMANDS))
    _print_result(run, console)


def _step_command(name: str) -> Callable[..., None]:
    @with_run_options
    def step(make_run: Callable[[], "Run"]) -> None:
        _run_commands(make_run(), console_for_tables(), [name])

    return step


@train.command("weights")
def weights(
    recipe: Annotated[str, typer.Option("--recipe", help="Name of the recipe; --list shows them.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any field of the recipe.")
    ] = None,
) -> None:
    """Fetch the published weights that a recipe starts from, or name what is missing and where it belongs."""
    from training.networks.published import fetch_weights
    from training.recipes.resolve import resolve
    from training.steps.networks import start_of

    try:
        chosen = resolve(recipe, assignments or ())
        path = fetch_weights(chosen.architecture, chosen.weights)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if path is None:
        typer.echo(f"{chosen.name} starts from random weights")
    else:
        typer.echo(f"{path}  SHA-256 {start_of(chosen)['sha256']}")


for _name, _help in STEPS.items():
    train.command(_name, help=_help)(_step_command(_name))


def console_for_tables() -> Console:
    """Wide enough for the table of results, also where there is no terminal and rich assumes 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=TABLE_COLUMNS)


def _run_commands(run: "Run", console: Console, names: list[str]) -> None:
    from cxrserve.errors import CxrserveError
    from training.cli.progress import RunProgress
    from training.fit.module import FitError
    from training.steps.parallel import TaskFailed
    from training.steps.run_steps import run_command

    with RunProgress(console) as progress:
        for name in names:
            try:
                run_command(name, run, progress)
            except CxrserveError:
                raise
            except (ValueError, FitError, TaskFailed) as error:
                raise typer.BadParameter(f"{name}: {error}") from None
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise typer.BadParameter(
                    f"{name}: there is no room for {error.filename or run.work} ({error.strerror}); free "
                    "some and start again: what is finished stays"
                ) from None


def _print_plan(run: "Run", console: Console) -> None:
    from training.cli.tables import plan_tables
    from training.steps.plan import make_plan

    plan = make_plan(run)
    for table in plan_tables(plan):
        console.print(table)
    for note in (*plan.times, *plan.notes):
        console.print(note, markup=False, highlight=False)
    for refusal in plan.refusals:
        console.print(f"will not start: {refusal}", style="yellow", markup=False, highlight=False)


def _print_result(run: "Run", console: Console) -> None:
    from cxrserve.bundle.contract import read_contract
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
    from training.cli.progress import RunProgress
    from training.steps.untrained import write_untrained

    console = Console()
    with RunProgress(console) as progress:
        contract = write_untrained(chosen, out, seed, progress)
    members = ", ".join(f"{member.size} ({member.parameters:,} parameters)" for member in contract.members)
    console.print(f"{out}: {members}. Untrained: its answers mean nothing.")
