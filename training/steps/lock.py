"""Lock of a work folder: one run at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.steps.step import StepError


@contextmanager
def alone_in(work: Path) -> Iterator[None]:
    """Hold the work folder while the block lasts; the lock goes with the process, however it ends.

    Raises:
        StepError: another run holds it.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StepError(
                f"another run is at work in {work}; wait for it, or take another folder with --work"
            ) from None
        yield
