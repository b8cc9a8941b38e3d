"""`cxrserve doctor` says whether the sandbox of the decode workers is complete here."""

from __future__ import annotations

import subprocess
import sys

from cxrserve.cli.doctor import _sandbox


def test_the_sandbox_is_shown() -> None:
    """The report agrees with a process that enters it, and the reporting process stays outside."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cxrserve.imaging.sandbox"], capture_output=True, text=True, check=True
    )
    missing = done.stdout.strip()
    assert (_sandbox() == "complete") == (missing == "")
    assert missing in _sandbox() or not missing
    subprocess.run(["true"], check=True)
