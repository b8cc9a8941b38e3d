"""Tables that `cxrserve train` prints: recipes, plans, results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from cxrserve.bundle.contract import Contract
    from training.steps.label_counts import LabelCounts
    from training.steps.plan import Plan


def recipes_table() -> Table:
    """Every recipe: name, networks, sizes, data, source."""
    from training.recipes import RECIPES, DatasetData

    table = Table("recipe", "networks", "sizes", "data", "source", header_style="dim")
    # A name that is cut cannot be given to --recipe.
    table.columns[0].no_wrap = True
    for name, make in RECIPES.items():
        recipe = make()
        data = recipe.data
        if isinstance(data, DatasetData):
            split = f"{data.split.folds} folds" if data.split.kind == "patient-folds" else data.split.kind
            source = f"{data.source}, {data.sample_unit.kind}, {split}"
        else:
            source = f"{data.training} drawn phantoms"
        seeds = f" × {len(recipe.seeds)} seeds" if len(recipe.seeds) > 1 else ""
        sizes = ", ".join(str(size) for size in recipe.preprocessing.sizes)
        table.add_row(name, f"{recipe.architecture}{seeds}", sizes, source, recipe.source)
    return table


def plan_tables(plan: Plan) -> list[Table]:
    """The steps, what each size needs, what the disk needs, and the labels."""
    steps = Table("step", "", header_style="dim", title="Steps")
    for planned in plan.steps:
        steps.add_row(planned.step, "done" if planned.why is None else f"to do: {planned.why}")
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
    disk.add_row("free", in_words(plan.free_bytes))
    return [steps, needs, disk, *([_counts_table(plan.counts)] if plan.counts else [])]


def _counts_table(counts: LabelCounts) -> Table:
    title = (
        f"Labels of {counts.images:,} images, {counts.studies:,} studies, {counts.patients:,} patients: "
        f"counts of {counts.unit}"
    )
    table = Table("finding", "positive", "negative", "masked", header_style="dim", title=title)
    for row in counts.findings:
        table.add_row(row.finding, f"{row.positive:,}", f"{row.negative:,}", f"{row.masked:,}")
    return table


def in_words(size: float) -> str:
    """`size` bytes in a unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def result_table(contract: Contract) -> Table:
    """AUC of each finding at each scale, of voting and of the stack, and the weights.

    With several folds or seeds, means over them with their standard deviation, and the first one's weights.
    """
    from training.report.measures import means

    assert contract.metrics is not None
    folds, auc = contract.metrics.folds, contract.metrics.auc
    part = f", {contract.lineage.part}" if contract.lineage.part else ""
    deviations: Mapping[str, Mapping[str, float | None]] = {}
    if folds is not None:
        auc, deviations = folds.mean, folds.deviation
        part = (
            f", mean ± standard deviation over {folds.count} folds and seeds; weights of "
            f"{contract.lineage.part or 'the first'}"
        )
    columns = list(next(iter(auc.values())))
    table = Table("finding", *columns, "weights in %", header_style="dim", title=f"AUC{part}")
    for column in table.columns:
        column.no_wrap = True
    for (name, row), weights in zip(auc.items(), contract.stack, strict=True):
        percents = " ".join(f"{100 * weight:2.0f}" for weight in weights)
        cells = [_figure(value, deviations.get(name, {}).get(column)) for column, value in row.items()]
        table.add_row(name, *cells, percents if name not in contract.unavailable else "–")
    table.add_section()
    table.add_row("mean", *(_figure(mean) for mean in means(auc).values()))
    return table


def _figure(value: float | None, deviation: float | None = None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}" if deviation is None else f"{value:.3f} ± {deviation:.3f}"
