"""The figures of a bundle's report.json, each with its place there as a JSON pointer (RFC 6901)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cxrserve.bundle.contract import Contract, read_contract
from cxrserve.errors import BundleError

REPORT: Final = "report.json"
_POINTS: Final = ("sensitivity", "specificity")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        measure: AUC, sensitivity or specificity.
        group: a group of patients or images; "" for all.
        low, high: its 95 % interval; None where the report has none.
        source: place of the figure in report.json.
    """

    finding: str
    measure: str
    group: str = ""
    value: float
    low: float | None = None
    high: float | None = None
    source: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A bundle with its report: everything that the documents are written from."""

    contract: Contract
    sha256: str
    report: dict[str, Any]
    figures: tuple[Figure, ...]

    @property
    def data(self) -> str:
        """The images that were measured, in words."""
        return f"{self.report['count']} {self.report['unit']}: {self.report['data']}"


def read_evidence(bundle: Path) -> Evidence:
    """Read the contract and the report in a bundle's folder.

    Raises:
        BundleError: there is no report, or it is that of another bundle.
    """
    contract, sha256 = read_contract(bundle)
    try:
        report = json.loads((bundle / REPORT).read_text("utf-8"))
    except (OSError, ValueError):
        raise BundleError(
            f"{bundle} has no {REPORT} that can be read: `cxrserve evaluate` measures a bundle and "
            "writes one."
        ) from None
    if report.get("sha256") != sha256:
        raise BundleError(
            f"{bundle / REPORT} measures the bundle {report.get('sha256')}, and bundle.json has {sha256}: "
            "measure it again with `cxrserve evaluate`."
        )
    return Evidence(contract=contract, sha256=sha256, report=report, figures=tuple(_figures(report)))


def _figures(report: dict[str, Any]) -> Iterator[Figure]:
    for index, finding in enumerate(report["findings"]):
        auc = (finding.get("auc") or {}).get("stack")
        place = f"/findings/{index}"
        if auc is not None and auc["value"] is not None:
            yield Figure(
                finding=finding["name"],
                measure="AUC",
                value=auc["value"],
                low=auc.get("low"),
                high=auc.get("high"),
                source=f"{place}/auc/stack",
            )
        for measure in _POINTS:
            if finding.get(measure) is not None:
                yield Figure(
                    finding=finding["name"],
                    measure=measure,
                    value=finding[measure],
                    source=f"{place}/{measure}",
                )
    for index, row in enumerate(report.get("people", ())):
        for measure in _POINTS:
            if row["enough"] and row[measure] is not None:
                yield Figure(
                    finding=row["finding"],
                    measure=measure,
                    group=f"{row['by']} {row['group']}",
                    value=row[measure]["value"],
                    low=row[measure]["low"],
                    high=row[measure]["high"],
                    source=f"/people/{index}/{measure}",
                )


def at(report: dict[str, Any], pointer: str) -> Any:
    """The value at a pointer."""
    value: Any = report
    for part in pointer.strip("/").split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
