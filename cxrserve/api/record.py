"""The record of a request: what the log may say of it. No patient, no file name, no path as it was sent."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from cxrserve.imaging.radiograph import ImageAbout

_AUDITED: Final = frozenset({"/predict", "/predict/study", "/triage"})
_PROBED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_KEY: Final = "cxrserve.record"
_access: Final = logging.getLogger("cxrserve.access")
_audit: Final = logging.getLogger("cxrserve.audit")


@dataclass(kw_only=True, slots=True)
class Upload:
    """One file of a request; rows, columns and format are known only once it was read."""

    bytes: int
    sha256: str
    rows: int | None = None
    columns: int | None = None
    format: str | None = None


@dataclass(kw_only=True, slots=True)
class Record:
    """One request, from its first header to its last byte of answer."""

    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=time.perf_counter)
    outcome: str = "ok"
    model_sha256: str | None = None
    priority: str = "routine"
    uploads: list[Upload] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Time since it began."""
        return time.perf_counter() - self.started

    def received(self, data: bytes) -> None:
        """Note a whole upload."""
        self.uploads.append(Upload(bytes=len(data), sha256=sha256(data).hexdigest()))

    def answered(self, position: int, about: ImageAbout) -> None:
        """Note what the upload at `position` turned out to be."""
        upload = self.uploads[position]
        upload.rows, upload.columns, upload.format = about.rows, about.columns, about.format

    def write(self, *, method: str | None, path: str | None, status: int) -> None:
        """Write the access line and, for a prediction, one audit line a file.

        `path` is the route's own, never the one that was sent: that may hold anything.
        """
        common = {
            "request": self.request_id,
            "status": status,
            "outcome": self.outcome,
            "ms": round(self.seconds * 1000),
        }
        # Probes come every few seconds; they are of interest only where they fail.
        level = logging.DEBUG if path in _PROBED and status < 400 else logging.INFO
        _access.log(level, _line({"method": method, "path": path, **common}))
        if path not in _AUDITED or method != "POST":
            return
        uploads: list[Upload | None] = [*self.uploads] or [None]
        for position, upload in enumerate(uploads):
            _audit.info(
                _line(
                    {
                        **common,
                        "file": f"{position + 1}/{len(uploads)}" if upload else None,
                        "bytes": upload.bytes if upload else None,
                        "sha256": upload.sha256 if upload else None,
                        "rows": upload.rows if upload else None,
                        "columns": upload.columns if upload else None,
                        "format": upload.format if upload else None,
                        "model": self.model_sha256,
                        **({"priority": self.priority} if self.priority != "routine" else {}),
                    }
                )
            )


def _line(fields: dict[str, object]) -> str:
    """`name=value` pairs; every value is ours, so none holds a blank or a line break."""
    return " ".join(f"{name}={'-' if value is None else value}" for name, value in fields.items())


def begin(scope: MutableMapping[str, Any]) -> Record:
    """A new record, kept with the request."""
    record = Record()
    scope[_KEY] = record
    return record


def record_of(scope: MutableMapping[str, Any]) -> Record:
    """The record of this request."""
    record: Record = scope[_KEY]
    return record
