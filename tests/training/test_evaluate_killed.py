"""`cxrserve evaluate` on files, killed and started again: what was scored stays, the table is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bundles import write_tiny_bundle
from tests.waiting import until
from training.phantom.files import write_phantoms
from training.report.evaluate_bundle import JSON
from training.report.partial_scores import FILE, count_kept

IMAGES, DAMAGED = 24, 5
PATIENCE_S = 300.0
# Four starts of a process that imports OpenVINO; a busy machine takes its time.
pytestmark = pytest.mark.timeout(1800)


def command(folder: Path, out: str) -> list[str]:
    """Two bundles on the same files, compared: their page holds no times."""
    bundles = (str(folder / "one"), str(folder / "other"))
    options = ("--data", f"phantoms:{folder / 'films'}", "--out", str(folder / out))
    return [sys.executable, "-m", "cxrserve", "evaluate", *bundles, *options]


def start(program: list[str]) -> subprocess.Popen[str]:
    # One image at a time: a kill comes between two of them.
    few = {"CXRSERVE_THREADS": "1", "CXRSERVE_DECODE_WORKERS": "1"}
    return subprocess.Popen(
        program, env={**os.environ, **few}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(program: list[str]) -> str:
    process = start(program)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    return said


def kill_after(program: list[str], out: Path, count: int) -> dict[str, np.ndarray]:
    """Start, and kill as soon as `count` images of all bundles are scored; what the files hold by then."""
    with start(program) as process:
        until(
            lambda: process.poll() is not None or sum(map(count_kept, out.glob("scores-*"))) >= count,
            PATIENCE_S,
        )
        process.kill()
    assert process.returncode == -signal.SIGKILL
    return {path.parent.name: np.load(path) for path in out.glob(f"scores-*/{FILE}")}


def test_killed_in_either_bundle_it_goes_on_to_the_same_table(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "other")):
        write_tiny_bundle(tmp_path / name, (64, 128), seed=seed)
    write_phantoms(tmp_path / "films", IMAGES, 70, "jpeg")
    sorted((tmp_path / "films").rglob("*.jpg"))[DAMAGED].write_bytes(b"no film")
    finish(command(tmp_path, "whole"))
    again, out = command(tmp_path, "killed"), tmp_path / "killed"
    first = kill_after(again, out, 8)
    second = kill_after(again, out, IMAGES - 1 + 8)
    assert (len(first), len(second)) == (1, 2)
    # Nothing is scored twice: also the times that were measured are those of the first time.
    for folder, rows in first.items():
        scored = ~np.isnan(rows).any((1, 2))
        assert 8 <= scored.sum() < IMAGES - 1
        np.testing.assert_array_equal(second[folder][scored], rows[scored])
    counts = sorted(int((~np.isnan(rows).any((1, 2))).sum()) for rows in second.values())
    assert counts[0] < counts[1] == IMAGES - 1
    said = finish(again)
    for count in counts:
        assert f"goes on: {count} of {IMAGES} images were scored before" in said
    assert (out / JSON).read_bytes() == (tmp_path / "whole" / JSON).read_bytes()
    assert not list(out.glob("scores-*"))
