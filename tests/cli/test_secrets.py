"""Secrets on the command line and in messages: neither shows them to other users of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_main import run

SECRET = "sesame-4711"
WIDE = {"COLUMNS": "400"}  # messages in one line


@pytest.mark.parametrize("name", ["token", "database_url", "CXRSERVE_TOKEN"])
def test_a_secret_on_the_command_line_is_refused(name: str) -> None:
    """`ps` shows command lines to everybody."""
    done = run("serve", "--set", f"{name}={SECRET * 3}", **WIDE)
    assert done.returncode != 0
    assert "every user of this machine can read a command line" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_message_about_a_wrong_secret_does_not_repeat_it(tmp_path: Path) -> None:
    short = run("settings", CXRSERVE_TOKEN=SECRET, **WIDE)
    assert "at least 16 characters" in short.stderr
    both = run("settings", CXRSERVE_TOKEN=SECRET * 3, CXRSERVE_TOKEN_FILE=str(tmp_path / "token"), **WIDE)
    assert "both set" in both.stderr
    for done in (short, both):
        assert done.returncode != 0
        assert SECRET not in done.stdout + done.stderr
    assert "not 'many'" in run("settings", CXRSERVE_THREADS="many", **WIDE).stderr, (
        "other values are repeated"
    )
