"""Answers as a table for a terminal, and as CSV for a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO

from rich.table import Table
from rich.text import Text

from cxrserve.findings import NAMES
from cxrserve.reports.answer import Answer, ScaleReport
from cxrserve.reports.triage import TriageAnswer

_STRONG, _FAINT = "bold yellow", "dim"
_UNKNOWN = "–"


def answer_table(title: str, answer: Answer) -> Table:
    """One radiograph: a row for each finding, a column for each scale; positive findings stand out."""
    table = Table(title=Text(title), title_justify="left", header_style=_FAINT)
    table.add_column("finding")
    table.add_column("probability", justify="right")
    table.add_column("operating point", justify="right")
    for scale in answer.findings[0].scales:
        table.add_column(f"{scale.size} px", justify="right")
    for finding in answer.findings:
        table.add_row(
            finding.finding,
            _figure(finding.probability) + (" ●" if finding.positive else "  "),
            _figure(finding.threshold),
            *(_share(scale) for scale in finding.scales),
            style=_STRONG if finding.positive else "",
        )
    return table


def _figure(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3f}"


def _share(scale: ScaleReport) -> str:
    return _UNKNOWN if scale.probability is None else f"{scale.probability:.2f} × {scale.weight:.0%}"


class CsvWriter:
    """One line for each file: its path, what went wrong if anything did, and 14 probabilities.

    The cell of a finding that the bundle does not know is empty.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(["file", "status", *NAMES, "model", "sha256"])

    def answered(self, path: str, answer: Answer) -> None:
        """A line of probabilities."""
        probabilities: Sequence[str] = [
            "" if finding.probability is None else f"{finding.probability:.6f}" for finding in answer.findings
        ]
        model = f"{answer.model.name} {answer.model.version}"
        self._writer.writerow([_cell(path), "ok", *probabilities, model, answer.model.sha256])

    def decided(self, path: str, answer: TriageAnswer) -> None:
        """A line of decisions, in words: no number that could be taken for a probability."""
        words = {one.finding: "positive" if one.positive else "negative" for one in answer.decisions}
        model = f"{answer.model.name} {answer.model.version}"
        cells = [words.get(name, "") for name in NAMES]
        self._writer.writerow([_cell(path), "ok", *cells, model, answer.model.sha256])

    def refused(self, path: str, reason: str) -> None:
        """A line without probabilities: what was not judged has none."""
        self._writer.writerow([_cell(path), _cell(reason), *[""] * len(NAMES), "", ""])


def _cell(text: str) -> str:
    """A spreadsheet must not take a file's name for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
