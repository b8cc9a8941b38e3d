"""Faults: what is wrong in a dataset, row by row, and when it is too much to go on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cxrserve.errors import ConfigurationError

Reason = Literal[
    "malformed row",
    "unknown label value",
    "study missing from the label table",
    "study listed twice with other labels",
    "image file missing",
    "path outside the dataset",
    "image listed twice",
    "image cannot be decoded",
]

EXAMPLES: Final = 3


class DatasetError(ConfigurationError):
    """The dataset as a whole cannot be used: a table is missing or damaged, or too much of it is bad."""

    slug = "dataset-error"
    title = "The dataset cannot be used"


class BadRow(Exception):
    """One row cannot become a sample; caught by the reader, which lists it as a `Fault` and goes on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One row that was left out: `where` it stands ("train.csv:17"), why, and with which value."""

    where: str
    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}: {self.detail}"


def check_share(faults: Sequence[Fault], good: int, max_bad_share: float, dataset: str) -> None:
    """Refuse a dataset with no good row, or with a larger share of bad ones than `max_bad_share`.

    Raises:
        DatasetError: with the number of faults for each reason, and examples.
    """
    rows = good + len(faults)
    if good and len(faults) <= max_bad_share * rows:
        return
    if not rows:
        raise DatasetError(f"{dataset}: its tables list no images at all; check the path")
    allowed = f"at most {max_bad_share:.1%} may be" if good else "nothing is left to train on"
    raise DatasetError(
        f"{dataset}: {len(faults)} of {rows} rows are bad ({len(faults) / rows:.1%}), {allowed}.\n"
        f"{summary(faults)}\nMend the tables or the path, or raise max_bad_share if this is meant."
    )


def summary(faults: Sequence[Fault]) -> str:
    """Faults counted by reason, the most frequent first, each with a few examples; one line for each."""
    examples: dict[Reason, list[str]] = defaultdict(list)
    for fault in faults:
        if len(examples[fault.reason]) < EXAMPLES:
            examples[fault.reason].append(f"{fault.where} ({fault.detail[:120]})")
    counts = Counter(fault.reason for fault in faults)
    return "\n".join(
        f"  {count} × {reason}, such as {'; '.join(examples[reason])}"
        for reason, count in counts.most_common()
    )
