"""The kill run, shorter: nothing acknowledged is lost or doubled, on either database; see `kill_run`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

# The whole, 300 objects and 50 kills on each: python -m tests.pacs.kill_run --database sqlite|postgres
OBJECTS, KILLS = 40, 10


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_nothing_acknowledged_is_lost_or_doubled(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: a sender whose peer dies leaves sockets behind, which is no concern here."""
    command = [sys.executable, "-m", "tests.pacs.kill_run", f"--kills={KILLS}", f"--objects={OBJECTS}"]
    done = subprocess.run(
        [*command, f"--database={database}"], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    figures: dict[str, Any] = json.loads(done.stdout)
    with capsys.disabled():
        sys.stdout.write(f"\n{done.stdout}")
    assert (figures["kills"], figures["acknowledged"]) == (KILLS, OBJECTS)
    assert figures["lost"] == figures["doubled"] == figures["incomplete"] == []
    assert done.returncode == 0
