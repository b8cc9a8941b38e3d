"""A bundle in a few lines: its purpose and limits, its networks, its findings with their operating points."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cxrserve.bundle.contract import Contract
from cxrserve.findings import NAMES


def bundle_summary(contract: Contract, sha256: str) -> RenderableType:
    """The summary, to print on a terminal."""
    return Group(*_lines(contract, sha256), _findings(contract))


def _lines(contract: Contract, sha256: str) -> Iterator[Text]:
    lineage = contract.lineage
    sizes: dict[str, list[str]] = {}
    for member in contract.members:
        sizes.setdefault(member.architecture, []).append(str(member.size))
    networks = "; ".join(f"{name}: {', '.join(of_it)} px" for name, of_it in sizes.items())
    yield Text.assemble((f"{contract.name} {contract.version}", "bold"), f"  {contract.intended_use}")
    for limit in contract.limits:
        yield Text(f"limit      {limit}", style="yellow")
    yield Text(f"networks   {networks}")
    yield Text(f"trained    recipe {lineage.recipe}, {lineage.data}, {lineage.created}")
    yield Text(f"study      {contract.study_rule} over the images")
    yield Text(f"SHA-256    {sha256}")


def _findings(contract: Contract) -> Table:
    """A row for each finding: its operating point, what was measured there, and the ensemble's AUC."""
    table = Table(header_style="dim")
    table.add_column("finding", no_wrap=True)
    for heading in ("operating point", "sensitivity", "specificity", "AUC"):
        table.add_column(heading, justify="right")
    areas = contract.metrics.auc if contract.metrics else {}
    for name in NAMES:
        point = contract.operating_points.get(name)
        if point is None:
            table.add_row(name, *["–"] * 4)
            continue
        table.add_row(
            name,
            _figure(point.threshold),
            _figure(point.sensitivity),
            _figure(point.specificity),
            _figure(areas.get(name, {}).get("stack")),
        )
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
