"""Retention: images and quarantined objects are deleted when their time is over; results and index stay."""

from __future__ import annotations

import logging
import time
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.index import OBJECTS, QUARANTINE, Index
from cxrserve.archive.rules import Retention
from cxrserve.archive.store import Store

_log: Final = logging.getLogger("cxrserve.archive")
_DAY_S: Final = 86_400.0
_AT_ONCE: Final = 500


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
