"""Killed at every point between the first byte and the last result: kept if acknowledged, and done once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def die_at_every_point(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What `kill_points` found; the last line is that of the run in which nobody died."""
    command = [sys.executable, "-m", "tests.archive.kill_points", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr[-2000:]
    assert lines[-1]["ended"]
    assert not any(line["ended"] for line in lines[:-1])
    assert not any("error" in line["before"] or "error" in line["after"] for line in lines)
    return lines


def test_keeping(tmp_path: Path) -> None:
    lines = die_at_every_point(tmp_path)
    points = [line["before"].get("point") for line in lines]
    assert points[0] == "received"
    assert points[-2] == "answered"
    assert {
        "before fsync",
        "after fsync",
        "before rename",
        "after rename",
        "before commit",
        "after commit",
    } <= {*points}
    for line in lines:
        after = line["after"]
        if "acknowledged" in line["before"]:
            assert after["acknowledged"] == "duplicate", "acknowledged, and gone"
        assert after["acknowledged"] in ("kept", "duplicate")
        assert (after["objects"], after["undone"], after["files"], after["sound"]) == (1, 1, 1, True)
    # What is committed is kept, whether or not the sender heard of it.
    committed = points.index("after commit", points.index("after rename"))
    assert [line["after"]["acknowledged"] for line in lines[:committed]] == ["kept"] * committed


def test_reading_and_delivering(tmp_path: Path) -> None:
    """Every seventeenth point, here; `python -m tests.archive.kill_points FOLDER --whole` takes them all."""
    lines = die_at_every_point(tmp_path, "--whole", "--every", "17")
    assert len(lines) > 4
    for line in lines:
        after = line["after"]
        assert after["state"] == "done"
        names = [each.split()[0] for each in after["results"]]
        assert names == ["overlay.dcm", "presentation-state.dcm", "report.dcm"], (
            "results came twice, and differ"
        )
        assert after["sent"] in (3, 6)  # sent, and killed before that was written down: the same files again
