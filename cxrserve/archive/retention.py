"""Retention: images and quarantined objects are deleted when their time is over; results and index stay.

Files that the index does not name are swept too: a process that was killed between a file and its row, or
between a row and the deletion, leaves one, and it would outlive every retention.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.index import OBJECTS, QUARANTINE, Index
from cxrserve.archive.rules import Retention
from cxrserve.archive.store import Store

_log: Final = logging.getLogger("cxrserve.archive")
_DAY_S: Final = 86_400.0
_AT_ONCE: Final = 500
_ORPHANED_S: Final = _DAY_S  # a file this old without a row is not one whose row is still to come


def expire(store: Store, index: Index, retention: Retention, *, now: float | None = None) -> int:
    """Delete what is older than `retention` says; the number of files.

    An image that was not read yet is never deleted, however old. The row is marked before the file goes: a
    crash between leaves a file, never a row without one that claims to have it.
    """
    now = time.time() if now is None else now
    deleted = 0
    if retention.images_days is not None:
        deleted += _images(store, index, now - retention.images_days * _DAY_S)
    if retention.quarantine_days is not None:
        deleted += _quarantined(store, index, now - retention.quarantine_days * _DAY_S)
    deleted += _orphaned(store, index, now - _ORPHANED_S)
    if deleted:
        _log.info("retention deleted %d files", deleted)
    return deleted


def _images(store: Store, index: Index, before: float) -> int:
    deleted = 0
    while True:
        with index.writing() as connection:
            found = connection.execute(
                sa.select(OBJECTS.c.sop_instance_uid, OBJECTS.c.sha256)
                .where(OBJECTS.c.expired == 0, OBJECTS.c.state != "waiting", OBJECTS.c.received < before)
                .limit(_AT_ONCE)
            ).all()
            uids = [row.sop_instance_uid for row in found]
            connection.execute(OBJECTS.update().where(OBJECTS.c.sop_instance_uid.in_(uids)).values(expired=1))
            index.touch(connection)
        for row in found:
            store.object_path(row.sha256).unlink(missing_ok=True)
        deleted += len(found)
        if len(found) < _AT_ONCE:
            return deleted


def _quarantined(store: Store, index: Index, before: float) -> int:
    with index.writing() as connection:
        found = list(
            connection.execute(
                QUARANTINE.delete().where(QUARANTINE.c.received < before).returning(QUARANTINE.c.sha256)
            ).scalars()
        )
    for digest in found:
        store.quarantine_path(digest).unlink(missing_ok=True)
    return len(found)


def _orphaned(store: Store, index: Index, before: float) -> int:
    """Delete files written before `before` that no row names; a folder at a time, so that few are held."""
    rows = (
        sa.select(OBJECTS.c.sha256).where(OBJECTS.c.expired == 0),
        sa.select(QUARANTINE.c.sha256),
    )
    deleted = 0
    for folder, quarantined in store.object_folders():
        old = {path.stem: path for path in folder.glob("*.dcm") if _written(path) < before}
        for start in range(0, len(old), _AT_ONCE):
            names = list(old)[start : start + _AT_ONCE]
            query = rows[quarantined]
            with index.reading() as connection:
                named = query.where(query.selected_columns.sha256.in_(names))
                held = set(connection.execute(named).scalars())
            for name in set(names) - held:
                if _written(old[name]) < before:  # it has not come again meanwhile
                    old[name].unlink(missing_ok=True)
                    deleted += 1
    return deleted


def _written(path: Path) -> float:
    """When the file was written; never, for one that has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf
