"""Lives of a process that counts films until it is killed, and what its file holds after each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cxrserve.metrics import Metrics
from cxrserve.watch.watch import Watch


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """One life.

    Attributes:
        given: films that the process gave to the watch.
        old: those of them that were given three seconds or more before the kill.
        saved: films in the file after the kill, of all lives.
        evidence: of the file's detectors after the kill, log10.
    """

    given: int
    old: int
    saved: int
    evidence: float


def live(file: Path, films: int) -> Life:
    """Start a process on `file`, kill it when it has given `films` films, and read the file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.watch.killed", str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if len(lines) >= films:
            break
    process.kill()
    lines += process.communicate()[0].splitlines(keepends=True)
    counts = [(int(line.split()[0]), float(line.split()[1])) for line in lines if line.endswith("\n")]
    given, ended = counts[-1]
    watch = Watch(file, Metrics(), key="bundle")
    report = watch.report()
    watch.close()
    return Life(
        given=given,
        old=max((count for count, at in counts if at < ended - 3), default=0),
        saved=report.groups[0].films if report.groups else 0,
        evidence=report.evidence,
    )
