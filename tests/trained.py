"""A run of `cxrserve train` on phantoms, so small that its bundle knows next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

SMALL: Final = {
    "preprocessing.sizes": "64,128",
    "data.training": "16",
    "data.validation": "40",  # the fewest that early decisions are made from
    "data.test": "12",
    "data.first_seed": "30000",
    "calibration.phantoms": "20",
    "fits.*.epochs": "2",
    "fits.*.crop_epochs": "1",
    "fits.*.crop_pixels": "64",
    "fits.*.batch": "8",
    "fits.*.crop_batch": "8",
    "fits.*.augment.shift_cells": "2",
}
PATIENCE_S: Final = 900.0


def arguments(folder: Path, *step: str, **sets: str) -> list[str]:
    """The arguments of `cxrserve` that train in `folder`, which gets `work` and `bundle`."""
    assignments = [word for key, value in {**SMALL, **sets}.items() for word in ("--set", f"{key}={value}")]
    places = ["--work", str(folder / "work"), "--out", str(folder / "bundle")]
    options = ["--recipe", "demo", *places, "--workers", "2", "--report", "brief", "--no-variants"]
    return ["train", *step, *options, *assignments]


def command(folder: Path) -> list[str]:
    """The whole run as a program."""
    return [sys.executable, "-m", "cxrserve", *arguments(folder)]


def finish(program: list[str], **environment: str) -> str:
    """Run the program, which must succeed; returns its output."""
    done = subprocess.run(
        program,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout
