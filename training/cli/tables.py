"""What `cxrserve train` prints: recipes, plans, results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from cxrserve.ensemble.bundle import Contract
    from training.steps.plan import Plan


def recipes_table() -> Table:
    """Every recipe: name, networks, sizes, data, source."""
    from training.recipes import RECIPES, DatasetData

    table = Table("recipe", "networks", "sizes", "data", "source", header_style="dim")
    for name, make in RECIPES.items():
        recipe = make()
        data = recipe.data
        if isinstance(data, DatasetData):
            split = f"{data.split.folds} folds" if data.split.kind == "patient-folds" else data.split.kind
            said = f"{data.source}, {data.unit.kind}, {split}"
        else:
            said = f"{data.training} drawn phantoms"
        seeds = f" × {len(recipe.seeds)} seeds" if len(recipe.seeds) > 1 else ""
        sizes = ", ".join(str(size) for size in recipe.preprocessing.sizes)
        table.add_row(name, f"{recipe.architecture}{seeds}", sizes, said, recipe.source)
    return table


def plan_tables(plan: Plan) -> tuple[Table, Table, Table]:
    """The steps, what each size needs, and what the disk needs."""
    steps = Table("step", "", header_style="dim", title="Steps")
    for each in plan.steps:
        steps.add_row(each.step, "done" if each.why is None else f"to do: {each.why}")
    needs = Table(
        "size",
        "parameters",
        "batch",
        "activations of an image",
        "memory while training",
        header_style="dim",
        title="Networks",
    )
    for need in plan.needs:
        cells = (need.size, f"{need.parameters:,}", need.batch)
        needs.add_row(*map(str, cells), in_words(need.activation_bytes), in_words(need.training_bytes))
    disk = Table("on the disk", "", header_style="dim", title="Data")
    for name, count in plan.images.items():
        disk.add_row(name, f"{count:,} images")
    disk.add_row("pyramids", in_words(plan.cache_bytes))
    disk.add_row("weights and checkpoints", in_words(plan.fits_bytes))
    return steps, needs, disk


def in_words(size: float) -> str:
    """`size` bytes in a unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def result_table(contract: Contract) -> Table:
    """AUC of each finding at each scale, of voting and of the stack, and the weights."""
    assert contract.metrics is not None
    auc = contract.metrics.auc
    columns = list(next(iter(auc.values())))
    table = Table("finding", *columns, "weights in %", header_style="dim", title="AUC")
    for column in table.columns:
        column.no_wrap = True
    for (name, row), weights in zip(auc.items(), contract.stack, strict=True):
        said = " ".join(f"{100 * weight:2.0f}" for weight in weights)
        table.add_row(name, *map(_figure, row.values()), said if name not in contract.unavailable else "–")
    table.add_section()
    table.add_row("mean", *(_figure(mean) for mean in _means(auc).values()))
    return table


def _means(auc: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean of each column over the findings that have a value in all of them."""
    columns = list(next(iter(auc.values())))
    full = [row for row in auc.values() if all(row[column] is not None for column in columns)]
    return {
        column: sum(row[column] or 0.0 for row in full) / len(full) if full else None for column in columns
    }


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
