"""Answers as a table for a terminal, and as CSV for a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO

from rich.table import Table
from rich.text import Text

from cxrserve.findings import NAMES, NO_FINDING
from cxrserve.reports.answer import Answer, FindingReport, ImageReport, ScaleReport
from cxrserve.reports.columns import DECISIONS, PROBABILITIES, SCORES, values_of
from cxrserve.reports.triage import TriageAnswer
from cxrserve.warnings import ImageWarning

_STRONG, _FAINT = "bold yellow", "dim"
_UNKNOWN = "–"
# Columns of the CSV after the probabilities: what joins a line with its labels, and what stands out.
_IMAGE_COLUMNS = (
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "view",
    "positive",
    "warnings",
)


def answer_table(title: str, answer: Answer, *, with_scales: bool = True) -> Table:
    """One radiograph: a row for each finding, a column for each scale; positive findings stand out.

    Args:
        with_scales: False for a terminal that is too narrow for the scales' columns.
    """
    table = Table(title=Text(title), title_justify="left", header_style=_FAINT)
    if not with_scales:
        table.caption = "a wider terminal shows each scale"
        table.caption_justify = "left"
    table.add_column("finding", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("operating point", justify="right")
    for scale in answer.findings[0].scales if with_scales else ():
        table.add_column(f"{scale.size} px", justify="right")
    for finding in answer.findings:
        table.add_row(
            finding.finding,
            _figure(finding.probability) + (" ●" if finding.positive else "  "),
            _figure(finding.threshold),
            *(_share(scale) for scale in finding.scales if with_scales),
            style=_STRONG if finding.positive else "",
        )
    return table


def _figure(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3f}"


def _share(scale: ScaleReport) -> str:
    return _UNKNOWN if scale.probability is None else f"{scale.probability:.2f} × {scale.weight:.0%}"


def answer_line(title: str, answer: Answer) -> str:
    """One radiograph in one line: its positive findings with their probabilities, and its warnings' codes.

    "No Finding" is not a finding, and never listed.
    """
    positive = ", ".join(
        f"{finding.finding} {finding.probability:.2f}" for finding in _positive(answer) if finding.probability
    )
    codes = ", ".join(sorted({str(warning.code) for warning in answer.warnings}))
    return f"{title}: {positive or 'nothing above its operating point'}{f'  [{codes}]' if codes else ''}"


def _positive(answer: Answer) -> list[FindingReport]:
    return [finding for finding in answer.findings if finding.positive and finding.finding != NO_FINDING]


class CsvWriter:
    """Writes one line for each file: path, status, 14 probabilities, UIDs, view, and what stands out.

    The scores and decisions of the findings come last. The cell of a finding that the bundle does not know
    is empty. `positive` and `warnings` hold names and codes separated by semicolons.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")
        columns = [*PROBABILITIES, "model", "sha256", *_IMAGE_COLUMNS, *SCORES, *DECISIONS]
        self._writer.writerow(["file", "status", *columns])

    def answered(self, path: str, answer: Answer) -> None:
        """A line of probabilities, scores and decisions."""
        values = values_of(answer.findings)
        probabilities, scores, decisions = (
            [_value(values[column]) for column in columns] for columns in (PROBABILITIES, SCORES, DECISIONS)
        )
        model = f"{answer.model.name} {answer.model.version}"
        about = _image_cells(
            answer.image, [finding.finding for finding in _positive(answer)], answer.warnings
        )
        row = [_cell(path), "ok", *probabilities, model, answer.model.sha256, *about, *scores, *decisions]
        self._writer.writerow(row)

    def decided(self, path: str, answer: TriageAnswer) -> None:
        """A line of decisions as words, so that no number is taken for a probability."""
        decisions = {
            decision.finding: "positive" if decision.positive else "negative" for decision in answer.decisions
        }
        model = f"{answer.model.name} {answer.model.version}"
        cells = [decisions.get(name, "") for name in NAMES]
        positive = [name for name, cell in decisions.items() if cell == "positive" and name != NO_FINDING]
        about = _image_cells(answer.image, positive, answer.warnings)
        none = [""] * len((*SCORES, *DECISIONS))
        self._writer.writerow([_cell(path), "ok", *cells, model, answer.model.sha256, *about, *none])

    def refused(self, path: str, reason: str) -> None:
        """A line without probabilities, for a file that was not analysed."""
        none = [""] * (len((*PROBABILITIES, *SCORES, *DECISIONS, *_IMAGE_COLUMNS)) + 2)
        self._writer.writerow([_cell(path), _cell(reason), *none])


def _value(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.6f}"


def _image_cells(image: ImageReport, positive: Sequence[str], warnings: Sequence[ImageWarning]) -> list[str]:
    about = (
        image.study_instance_uid,
        image.series_instance_uid,
        image.sop_instance_uid,
        image.view_position,
    )
    codes = sorted({str(warning.code) for warning in warnings})
    return [*(_cell(value or "") for value in about), "; ".join(positive), "; ".join(codes)]


def _cell(text: str) -> str:
    """A spreadsheet must not take a file's name for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(tuple("=+-@\t\r")) else text
