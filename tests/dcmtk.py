"""DCMTK's programs, by their full path: pynetdicom installs Python programs of the same names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def path_of(program: str) -> str:
    """The path of a Debian program; skips the test where it is not installed."""
    found = Path("/usr/bin") / program
    if not found.is_file():
        pytest.skip(f"{found} is not installed; see tests/debian-packages.txt")
    return str(found)


def run(
    program: str, *arguments: str | Path | int, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run it; its output and exit status, with both streams in `stdout`."""
    return subprocess.run(
        [path_of(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def storescu(port: int, *files: Path, options: tuple[str | Path, ...] = (), ae: str = "CXRSERVE") -> str:
    """Send files by C-STORE; returns its output, one line for each answer."""
    return run("storescu", "-v", *options, "-aec", ae, "127.0.0.1", port, *files).stdout


def echoscu(port: int, *options: str | Path, ae: str = "CXRSERVE") -> str:
    """C-ECHO; returns the output of echoscu."""
    return run("echoscu", "-v", *options, "-aec", ae, "127.0.0.1", port).stdout
