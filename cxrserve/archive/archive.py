"""The archive behind one door: receive, look up, deliver."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cxrserve.archive.destination import Destination
from cxrserve.archive.receipt import Receipt, Source
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.settings import Settings


class Archive:
    """One archive folder, its index and its workers. Thread-safe; a context manager.

    What `receive` has acknowledged survives the end of the process at any moment, and is worked on at the
    next start.
    """

    @classmethod
    def open(cls, settings: Settings, pipeline: Pipeline, destinations: Mapping[str, Destination]) -> Self:
        """Open (or make) the archive in `settings.archive` and take up the work that was left.

        Args:
            destinations: for each name in the rules' `destinations`, what sends to it.

        Raises:
            ConfigurationError: no folder set, a folder or database that cannot be used, wrong rules, or a
                destination without an entry in `destinations`.
        """
        raise NotImplementedError

    def receive(self, part10: bytes | Path, source: Source) -> Receipt:
        """Keep one object: a whole DICOM file, as bytes or as a path that stays the caller's.

        Returns only after the object and its folder are on disk and its row and work are committed.

        Raises:
            RequestError, ImageError: it is no DICOM object, or lacks a usable UID: refuse it.
            OutOfResources: disk full or read-only, size limits reached, database locked: refuse it as out of
                resources (DIMSE 0xA700, HTTP 503). Nothing was acknowledged; the sender tries again.
        """
        raise NotImplementedError

    def has(self, sop_instance_uid: str, sop_class_uid: str) -> bool:
        """True where this very object is kept and its file is sound (its hash is computed anew)."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the workers after what they are at. Idempotent."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
