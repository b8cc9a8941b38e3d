"""The model card: what a bundle is, what it was measured to do, and what it must not be used for."""

from __future__ import annotations

from pathlib import Path

from cxrserve.ensemble.bundle import Contract
from training.evaluate import HEATMAP_PERCENTILE, means
from training.recipes import PhantomData, Recipe
from training.report.scores import STACK, VOTING


def write_card(folder: Path, recipe: Recipe, contract: Contract, pointing: dict[str, float]) -> Path:
    """Write `README.md` into the bundle's folder.

    Args:
        pointing: by finding, the share of heatmaps whose maximum lies on the finding.
    """
    path = folder / "README.md"
    path.write_text("\n".join(_lines(recipe, contract, pointing)) + "\n", encoding="utf-8")
    return path


def _lines(recipe: Recipe, contract: Contract, pointing: dict[str, float]) -> list[str]:
    lineage = contract.lineage
    return [
        f"# The bundle `{contract.name}` {contract.version}",
        "",
        contract.intended_use,
        "",
        *(f"- {limit}" for limit in contract.limits),
        "",
        f"Made by `cxrserve train --recipe {recipe.name}` on {lineage.created} from {lineage.data}. "
        f"Profile `{contract.preprocessing.profile}`, fit `{contract.preprocessing.fit}`.",
        "",
        "## Members",
        "",
        "| size | architecture | parameters | normalisation |",
        "|---|---|---|---|",
        *(
            f"| {member.size} | {member.architecture} | {member.parameters:,} | {member.normalisation} |"
            for member in contract.members
        ),
        "",
        *_measured(contract, pointing, drawn=isinstance(recipe.data, PhantomData)),
    ]


_CAVEAT = {
    True: "These are figures about drawings; they say nothing about radiographs.",
    False: "Figures about these images; other hospitals' films are other films.",
}


def _measured(contract: Contract, pointing: dict[str, float], *, drawn: bool) -> list[str]:
    if contract.metrics is None:
        return []
    table = contract.metrics.auc
    columns = list(next(iter(table.values())))  # one scale alone has nobody to vote with
    rows = [
        f"| {name} | {' | '.join(_cell(row, column) for column in columns)} |" for name, row in table.items()
    ]
    mean = means(table)
    return [
        "## AUC",
        "",
        f"On {contract.metrics.data}, through the path that serves. {_CAVEAT[drawn]} Bold: the best single "
        "scale.",
        "",
        f"| finding | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
        *rows,
        f"| **mean** | {' | '.join(f'{mean[column]:.3f}' for column in columns)} |",
        "",
        "## Weight of each scale in the stack, and where the heatmap points",
        "",
        "Percent. The last column is the share of present findings whose heatmap has its maximum on the "
        "finding, or in the cell beside it.",
        "",
        f"| finding | {' | '.join(str(size) for size in contract.preprocessing.sizes)} | points at it |",
        f"|---|{'---|' * len(contract.members)}---|",
        *(
            f"| {name} | {' | '.join(f'{100 * weight:.0f}' for weight in weights)} | "
            f"{f'{100 * pointing[name]:.0f}' if name in pointing else '–'} |"
            for name, weights in zip(contract.findings, contract.stack, strict=True)
        ),
        "",
        f"Heatmaps are shown at full strength from {contract.heatmap_scale:g} on: the {HEATMAP_PERCENTILE}th "
        "percentile of the maxima over present findings of the validation "
        f"{'phantoms' if drawn else 'images'}.",
    ]


def _cell(row: dict[str, float | None], column: str) -> str:
    value = row[column]
    if value is None:
        return "–"
    single = [other for name, other in row.items() if name not in (VOTING, STACK) and other is not None]
    best = column not in (VOTING, STACK) and value == max(single)
    return f"**{value:.3f}**" if best else f"{value:.3f}"
