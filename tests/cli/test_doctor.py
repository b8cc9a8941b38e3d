"""`cxrserve doctor` says whether the sandbox of the decode workers is complete here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cxrserve.cli.doctor import _sandbox, examine
from cxrserve.settings import Settings


def test_the_sandbox_is_shown() -> None:
    """The report agrees with a process that enters it, and the reporting process stays outside."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cxrserve.imaging.sandbox"], capture_output=True, text=True, check=True
    )
    missing = done.stdout.strip()
    assert (_sandbox() == "complete") == (missing == "")
    assert missing in _sandbox() or not missing
    subprocess.run(["true"], check=True)


def test_square_brackets_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are markup for the terminal library: unescaped, `cxrserve[gpu]` would lose its extra."""
    monkeypatch.setenv("COLUMNS", "2000")
    assert not examine(Settings(bundle=tmp_path / "ward [gpu]"))
    assert "ward [gpu]" in capsys.readouterr().out
