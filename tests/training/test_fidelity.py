"""FIDELITY.md: every row has a verdict, and the files and tests that it names exist."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "training" / "FIDELITY.md"
VERDICTS = ("same", "different, stated")


def rows() -> list[list[str]]:
    """Cells of every numbered row."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d", line)
    ]


def promises() -> list[list[str]]:
    """Rows of the last table, which has no verdicts: number, promise, tests."""
    return [row for row in rows() if len(row) == 3]


def claims() -> list[list[str]]:
    """Rows of the tables of the papers and datasets."""
    return [row for row in rows() if len(row) != 3]


def test_every_promise_has_a_test() -> None:
    assert len(promises()) > 20
    for row in promises():
        assert "::test_" in row[2], row


def test_every_row_has_a_verdict_and_a_test() -> None:
    assert len(claims()) > 70
    for row in claims():
        assert len(row) == 6, row
        assert row[4] in VERDICTS, row
        assert "::test_" in row[5], row
        # What differs is said in a file beside the test, too.
        assert row[4] == "same" or len(re.findall("`[^`]+`", row[5])) > 1, row


def test_rows_are_numbered_in_each_table() -> None:
    numbers = [int(row[0]) for row in rows()]
    following = [number in (1, before + 1) for before, number in itertools.pairwise(numbers)]
    assert numbers[0] == 1
    assert all(following)


@pytest.mark.parametrize("name", sorted(set(re.findall("`([^`]+)`", " ".join(row[-1] for row in rows())))))
def test_what_a_row_names_is_there(name: str) -> None:
    file, _, test = name.partition("::")
    if not test:
        assert (ROOT / file).is_file() or (ROOT / "training" / file).is_file()
        return
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
    assert any(re.search(rf"def {re.escape(test)}\(", source) for source in sources)
