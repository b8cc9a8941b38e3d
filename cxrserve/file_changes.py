"""Changes of files that are read at start and replaced while the service runs, such as certificates."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

_Stamp = tuple[int, int, int]


class FileChanges:
    """Tells whether any of some files has changed. Not thread-safe."""

    def __init__(self, paths: Iterable[Path | None]) -> None:
        self._paths: Final = [path for path in paths if path is not None]
        self._stamps = self._read()

    def seen(self) -> bool:
        """True if a file was replaced or written since the last call, or since construction."""
        before, self._stamps = self._stamps, self._read()
        return before != self._stamps

    def _read(self) -> list[_Stamp | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()  # follows links: a Kubernetes secret is replaced by its link
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
