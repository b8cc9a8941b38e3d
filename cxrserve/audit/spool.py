"""The folder that keeps messages until the syslog server has taken them. It survives the process."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cxrserve.files import write_atomically

_SUFFIX: Final = ".syslog"


class Spool:
    """Messages in files, in the order they came."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, or make it.

        Raises:
            OSError: it cannot be made or written.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder: Final = folder
        self._numbers: Final = itertools.count()

    def add(self, content: bytes) -> None:
        """Bring one message to the disk.

        Raises:
            OSError: it cannot be written.
        """
        name = f"{time.time_ns():020d}-{os.getpid():07d}-{next(self._numbers):09d}{_SUFFIX}"
        write_atomically(self._folder / name, content, mode=0o600)

    def waiting(self) -> Iterator[Path]:
        """The files of the messages, oldest first."""
        yield from sorted(path for path in self._folder.iterdir() if path.suffix == _SUFFIX)
