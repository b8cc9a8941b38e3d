"""`cxrserve train` and `cxrserve models init`. torch is imported only once a command runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cxrserve.reports.progress import progress_bar

if TYPE_CHECKING:
    from cxrserve.ensemble.bundle import Contract
    from training.build import Result
    from training.recipes import Recipe

Item = TypeVar("Item")
# Columns of text that the table of results needs with four scales.
TABLE_COLUMNS = 116


def train(
    recipe: Annotated[str, typer.Option(help="Name of the recipe; --list shows them.")] = "demo",
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle to write; models/NAME else.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for pyramids and weights in between; runs/NAME else.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw phantoms.")] = os.cpu_count() or 1,
    list_: Annotated[bool, typer.Option("--list", help="List the recipes and stop.")] = False,
) -> None:
    """Train a bundle from a recipe, measure it through the serving path, and write it."""
    console = _console()
    if list_:
        console.print(_recipes_table())
        return
    chosen = _recipe(recipe)
    from training.build import build

    out, work = out or Path("models") / recipe, work or Path("runs") / recipe
    try:
        with RichProgress(console) as progress:
            result = build(chosen, out, work, progress, workers)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _print_result(console, result, out)


def init(
    recipe: Annotated[str, typer.Option(help="Name of the recipe; `cxrserve train --list` shows them.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
) -> None:
    """Write a recipe's networks at full size and untrained, as a bundle: for benchmarks and tests."""
    chosen = _recipe(recipe)
    from training.initial import write_untrained

    console = Console()
    with RichProgress(console) as progress:
        contract = write_untrained(chosen, out, seed, progress)
    console.print(f"{out}: {_members(contract)}. Untrained: its answers mean nothing.")


def _console() -> Console:
    """Wide enough for the table of results, also where there is no terminal and rich assumes 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=TABLE_COLUMNS)


def _recipe(name: str) -> Recipe:
    from training.recipes import recipe

    try:
        return recipe(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--recipe") from None


def _recipes_table() -> Table:
    from training.recipes import RECIPES

    table = Table("recipe", "networks", "sizes", "source", header_style="dim")
    for name, make in RECIPES.items():
        recipe = make()
        sizes = ", ".join(str(size) for size in recipe.preprocessing.sizes)
        table.add_row(name, recipe.architecture, sizes, recipe.source)
    return table


def _members(contract: Contract) -> str:
    return ", ".join(f"{member.size} ({member.parameters:,} parameters)" for member in contract.members)


def _print_result(console: Console, result: Result, out: Path) -> None:
    from training.evaluate import means

    mean = means(result.table)
    table = Table("finding", *mean, "weights in %", "points at it", header_style="dim", title="AUC")
    for column in table.columns:
        column.no_wrap = True
    weights_FS = result.contract.stack
    for (name, row), weights in zip(result.table.items(), weights_FS, strict=True):
        cells = ("–" if value is None else f"{value:.3f}" for value in row.values())
        pointing = result.heatmaps.pointing.get(name)
        table.add_row(
            name,
            *cells,
            " ".join(f"{100 * weight:2.0f}" for weight in weights),
            "–" if pointing is None else f"{100 * pointing:.0f} %",
        )
    table.add_section()
    table.add_row("mean", *(f"{value:.3f}" for value in mean.values()))
    console.print(table)
    total = sum(result.seconds.values())
    laps = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in result.seconds.items())
    console.print(f"{laps}; together {total / 60:.1f} minutes", highlight=False)
    console.print(f"the bundle is in {out}; `cxrserve serve --bundle {out}` serves it", highlight=False)


class RichProgress:
    """Progress bars on a terminal, one plain line a step elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = progress_bar(console)

    def __enter__(self) -> RichProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def track(self, steps: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Pass `steps` on, showing each as one of `total`."""
        if not self._console.is_terminal:
            self.say(f"{what} ({total})")
        yield from self._bars.track(steps, total=total, description=what)

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False)
