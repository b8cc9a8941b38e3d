"""Retention: delete images and quarantined objects after their time; results and rows stay.

Files that no row names are deleted too: a process that was killed between a file and its row, or between a
row and the deletion, leaves one, and it would outlive every retention. Such a file must have been there in
the round before, since its time comes from a clock that may have been wrong.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.rules import Retention
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import Store
from cxrserve.archive.storage.tables import OBJECTS, QUARANTINE, STUDIES
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record

_log: Final = logging.getLogger("cxrserve.archive")
_DAY_S: Final = 86_400.0
_AT_ONCE: Final = 500
_ORPHANED_S: Final = _DAY_S  # a file this old without a row is not one whose row is still to come


class Expiry:
    """Deletes what is older than the rules say, in rounds.

    Args:
        now: the time to compare with (`RetentionClock.now`).
    """

    def __init__(self, store: Store, database: Database, now: Callable[[], float]) -> None:
        self._store: Final = store
        self._database: Final = database
        self._now: Final = now
        self._orphans: set[Path] = set()  # of the last round

    def run(self, retention: Retention) -> int:
        """Delete what is due; the number of files.

        An image that was not read yet is never deleted, however old. The row is marked before the file goes:
        a crash between leaves a file, never a row without one that claims to have it.
        """
        now = self._now()
        deleted = 0
        if retention.images_days is not None:
            deleted += _images(self._store, self._database, now - retention.images_days * _DAY_S)
        if retention.quarantine_days is not None:
            deleted += _quarantined(self._store, self._database, now - retention.quarantine_days * _DAY_S)
        orphans = _orphaned(self._store, self._database, now - _ORPHANED_S)
        for path in orphans & self._orphans:
            path.unlink(missing_ok=True)
            deleted += 1
        self._orphans = orphans
        if deleted:
            _log.info("retention deleted %d files", deleted)
        return deleted


def latest_received(database: Database) -> float | None:
    """The latest time at which an object was received; None in an empty archive."""
    with database.reading() as connection:
        return connection.execute(sa.select(sa.func.max(OBJECTS.c.received))).scalar()


def _images(store: Store, database: Database, before: float) -> int:
    deleted = 0
    while True:
        with database.writing() as connection:
            rows = connection.execute(
                sa.select(
                    OBJECTS.c.sop_instance_uid,
                    OBJECTS.c.sha256,
                    STUDIES.c.study_instance_uid,
                    STUDIES.c.patient_id,
                )
                .join(STUDIES, STUDIES.c.key == OBJECTS.c.study_key)
                .where(OBJECTS.c.expired == 0, OBJECTS.c.state != "waiting", OBJECTS.c.received < before)
                .limit(_AT_ONCE)
            ).all()
            uids = [row.sop_instance_uid for row in rows]
            connection.execute(OBJECTS.update().where(OBJECTS.c.sop_instance_uid.in_(uids)).values(expired=1))
            database.touch(connection)
        for row in rows:
            store.object_path(row.sha256).unlink(missing_ok=True)
            record(
                AuditEvent(
                    action="delete",
                    detail="retention",
                    studies=(row.study_instance_uid,),
                    images=(row.sop_instance_uid,),
                    patients=(row.patient_id,) if row.patient_id else (),
                )
            )
        deleted += len(rows)
        if len(rows) < _AT_ONCE:
            return deleted


def _quarantined(store: Store, database: Database, before: float) -> int:
    with database.writing() as connection:
        candidates = list(
            connection.execute(
                QUARANTINE.delete().where(QUARANTINE.c.received < before).returning(QUARANTINE.c.sha256)
            ).scalars()
        )
    for digest in candidates:
        store.quarantine_path(digest).unlink(missing_ok=True)
    return len(candidates)


def _orphaned(store: Store, database: Database, before: float) -> set[Path]:
    """Files written before `before` that no row names; looks at a folder at a time, so that few are held."""
    rows = (
        sa.select(OBJECTS.c.sha256).where(OBJECTS.c.expired == 0),
        sa.select(QUARANTINE.c.sha256),
    )
    orphans: set[Path] = set()
    for folder, quarantined in store.object_folders():
        old = {path.stem: path for path in folder.glob("*.dcm") if _written(path) < before}
        for start in range(0, len(old), _AT_ONCE):
            names = list(old)[start : start + _AT_ONCE]
            query = rows[quarantined]
            with database.reading() as connection:
                named = query.where(query.selected_columns.sha256.in_(names))
                held = set(connection.execute(named).scalars())
            orphans |= {old[name] for name in set(names) - held if _written(old[name]) < before}
    return orphans


def _written(path: Path) -> float:
    """The time at which the file was written; infinity for one that is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf
