"""The archive behind one door: receive, look up, deliver."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from cxrserve.archive.catalogue import Catalogue
from cxrserve.archive.destination import Destination
from cxrserve.archive.gauges import Gauges
from cxrserve.archive.home import check_home
from cxrserve.archive.incoming import Incoming
from cxrserve.archive.index import OBJECTS, answering, sqlalchemy_url
from cxrserve.archive.intake import Intake
from cxrserve.archive.letters import Letters, open_index
from cxrserve.archive.planner import Planner
from cxrserve.archive.receipt import Receipt, Source
from cxrserve.archive.retention import expire
from cxrserve.archive.retries import Retries
from cxrserve.archive.rules import Rules, load_rules
from cxrserve.archive.store import DamagedObject, Store
from cxrserve.archive.study import StudySteps
from cxrserve.archive.work import Work
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.errors import ConfigurationError, TooLarge
from cxrserve.settings import Settings

_audit: Final = logging.getLogger("cxrserve.audit")


class Archive:
    """One archive folder, its index and its workers. Thread-safe; a context manager.

    What `receive` has acknowledged survives the end of the process at any moment, and is worked on at the
    next start.

    Attributes:
        rules: as they were read at the opening.
        catalogue: what is held, for those who look.
        letters: jobs that wait, and dead letters.
    """

    def __init__(
        self, settings: Settings, pipeline: Pipeline, destinations: Mapping[str, Destination]
    ) -> None:
        self._settings: Final = settings
        self.rules: Final = load_rules(settings.rules)
        _check_destinations(self.rules, destinations)
        if settings.archive is None:
            raise ConfigurationError("no archive is set. Give its folder as CXRSERVE_ARCHIVE.")
        node = settings.node_name or (socket.gethostname() if _shared(settings) else "cxrserve")
        with ExitStack() as opened:
            lock = _locked(settings.archive, node if _shared(settings) else "cxrserve")
            opened.callback(os.close, lock)
            self._index: Final = open_index(settings)
            opened.callback(self._index.close)
            if _shared(settings):  # SQLite's files lie in the folder itself
                check_home(settings.archive, self._index)
            self._store: Final = Store(settings.archive, node)
            gauges, registry = Gauges(self._store, self._index), pipeline.metrics.registry
            registry.register(gauges)
            opened.callback(registry.unregister, gauges)
            self._received: Final = pipeline.metrics.received
            self.catalogue: Final = Catalogue(self._store, self._index)
            self.letters: Final = Letters(self._index)
            self._intake: Final = Intake(
                self._store, self._index, self.rules, settings, pipeline.predictor.bundle
            )
            opened.callback(self._intake.close)
            self._work: Final = self._launched(pipeline, destinations, node)
            opened.callback(self._work.close, settings.shutdown_timeout_s)
            self._planner: Final = Planner(
                self._index, self._work, self._retries, node=node, expire=self._expire
            )
            opened.callback(self._planner.close)
            self._opened: Final = opened.pop_all()

    @classmethod
    def open(cls, settings: Settings, pipeline: Pipeline, destinations: Mapping[str, Destination]) -> Self:
        """Open (or make) the archive in `settings.archive` and take up the work that was left.

        Args:
            destinations: for each name in the rules' `destinations`, what sends to it.

        Raises:
            ConfigurationError: no folder set, a folder or database that cannot be used or do not belong
                together, wrong rules, or a destination without an entry in `destinations`.
        """
        return cls(settings, pipeline, destinations)

    def _launched(self, pipeline: Pipeline, destinations: Mapping[str, Destination], node: str) -> Work:
        settings = self._settings
        self._retries = Retries(
            most_pause_s=settings.delivery_most_pause_s, give_up_s=settings.delivery_give_up_s
        )
        steps = StudySteps(self._store, self._index, self.rules, pipeline, destinations, self._retries)
        # On SQLite a file of its own: its polling and the acknowledgements do not wait for each other.
        url = sqlalchemy_url(settings.database_url.get_secret_value(), self._store.folder / "work.db")
        work = Work(
            url,
            node,
            steps,
            destinations,
            studies=settings.study_workers,
            deliveries=settings.delivery_workers,
        )
        work.launch()
        return work

    def begin(self) -> Incoming:
        """A file for an object that comes piece by piece; it is the caller's, who gives it to `receive`.

        Raises:
            OutOfResources: there is no room.
        """
        return self._intake.begin()

    def receive(self, part10: bytes | Path | Incoming, source: Source) -> Receipt:
        """Keep one object: a whole DICOM file, as bytes, as a path that stays the caller's, or from `begin`.

        Returns only after the object and its folder are on disk and its row and work are committed.

        Raises:
            RequestError, ImageError: it is no DICOM object, or lacks a usable UID: refuse it.
            OutOfResources: disk full or read-only, size limits reached, database locked: refuse it as out of
                resources (DIMSE 0xA700, HTTP 503). Nothing was acknowledged; the sender tries again.
        """
        most = self._settings.max_upload_bytes
        size = _size(part10)
        if size > most:
            raise TooLarge(
                f"the object has {size} bytes; at most {most} are taken (CXRSERVE_MAX_UPLOAD_BYTES)."
            )
        receipt = self._intake.receive(part10, source)
        self._received.labels(source.protocol, receipt.outcome).inc()
        _audit.info(
            "received=%s outcome=%s reason=%s protocol=%s bytes=%d",
            receipt.sha256,
            receipt.outcome,
            receipt.reason or "-",
            source.protocol,
            size,
        )
        return receipt

    def has(self, sop_instance_uid: str, sop_class_uid: str) -> bool:
        """True where this very object is kept and its file is sound (its hash is computed anew).

        Raises:
            OutOfResources: the database does not answer.
        """
        with answering(), self._index.reading() as connection:
            digest = connection.execute(
                sa.select(OBJECTS.c.sha256).where(
                    OBJECTS.c.sop_instance_uid == sop_instance_uid,
                    OBJECTS.c.sop_class_uid == sop_class_uid,
                    OBJECTS.c.expired == 0,
                )
            ).scalar()
        if digest is None:
            return False
        try:
            self._store.read(digest)
        except DamagedObject:
            return False
        return True

    def _expire(self) -> None:
        expire(self._store, self._index, self.rules.retention)
        self._work.forget()

    def close(self) -> None:
        """Stop the workers after what they are at. Idempotent."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_destinations(rules: Rules, destinations: Mapping[str, Destination]) -> None:
    if missing := sorted(rules.destinations.keys() - destinations.keys()):
        raise ConfigurationError(f"nothing sends to the destinations {', '.join(missing)} of the rules.")


def _size(part10: bytes | Path | Incoming) -> int:
    if isinstance(part10, Incoming):
        return part10.size
    return part10.stat().st_size if isinstance(part10, Path) else len(part10)


def _shared(settings: Settings) -> bool:
    return bool(settings.database_url.get_secret_value())


def _locked(folder: Path, name: str) -> int:
    """A lock that ends with the process: of two nodes with one name each would take the other's work."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / f"{name.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the archive {folder} cannot be used: {error.strerror}. Give a folder that can be written "
            "(CXRSERVE_ARCHIVE)."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"another node called {name} has this archive open. Stop it, or with PostgreSQL give each node "
            "a name of its own (CXRSERVE_NODE_NAME)."
        ) from error
    return descriptor
