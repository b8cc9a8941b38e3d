"""Docstrings, comments and messages are written in plain technical English."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plain_words import offences, opening_offences, phrase_offences


def test_the_tree_is_written_in_plain_words() -> None:
    assert [str(offence) for offence in offences()] == []


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ('"""What is said of a file."""', "opens with a question word"),
        ('"""A module."""\nclass Limit:\n    """How long to wait."""', "opens with a question word"),
        ('"""A module."""\ndef read() -> None:\n    """Read it without an end"""', "no first sentence"),
        ("x = 1", "no docstring"),
    ],
)
def test_a_bad_opening_is_found(tmp_path: Path, source: str, rule: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert [offence.rule for offence in opening_offences(tmp_path, path)] == [rule]


def test_a_riddle_is_found_in_strings_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('"""A module."""\n# Sent anew.\nMESSAGE = "the file was set aside"\n')
    assert [offence.line for offence in phrase_offences(tmp_path, path)] == [2, 3]
