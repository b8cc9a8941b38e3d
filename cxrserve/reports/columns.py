"""Columns of the findings in tables, the same in CSV and Parquet.

The probabilities have the findings' names; after them stand the scores, then the decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cxrserve.bundle.operating_point import Decision
from cxrserve.findings import NAMES
from cxrserve.reports.answer import FindingReport


def score_column(finding: str) -> str:
    """The column of the stack's value, which the calibration turns into the probability."""
    return f"{finding} score"


def decision_column(finding: str) -> str:
    """The column of the decision: absent, undecided or present."""
    return f"{finding} decision"


PROBABILITIES: Final = NAMES
SCORES: Final = tuple(map(score_column, NAMES))
DECISIONS: Final = tuple(map(decision_column, NAMES))


def values_of(findings: Sequence[FindingReport]) -> dict[str, float | Decision | None]:
    """The value of every column; None where no network of the bundle knows the finding."""
    return {
        **{finding.finding: finding.probability for finding in findings},
        **{score_column(finding.finding): finding.score for finding in findings},
        **{decision_column(finding.finding): finding.decision for finding in findings},
    }
