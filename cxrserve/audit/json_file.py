"""The sink that writes JSON lines: one event a line, into a file that only this user can read."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Final

from cxrserve.audit.event import AuditEvent


class JsonFile:
    """An open file of JSON lines. It is opened again for each write, so that it can be rotated."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def write(self, event: AuditEvent) -> None:
        """Append one event and bring it to the disk.

        Raises:
            OSError: the file cannot be written.
        """
        row = json.dumps(_fields(event), ensure_ascii=True, separators=(",", ":")) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, row.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is open between two events."""


def _fields(event: AuditEvent) -> dict[str, object]:
    fields = dataclasses.asdict(event)
    fields["time"] = event.time.isoformat(timespec="milliseconds")
    return {name: value for name, value in fields.items() if value not in ("", ())}
