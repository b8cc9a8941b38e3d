"""Quota: how many more bytes the archive may store."""

from __future__ import annotations

import threading
import time
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.files import Store
from cxrserve.archive.storage.tables import OBJECTS
from cxrserve.errors import OutOfResources
from cxrserve.settings import Settings

_COUNT_EVERY_S: Final = 30.0


class Quota:
    """Limits of the disk and the archive. Counts again at times, as other nodes store objects too."""

    def __init__(self, store: Store, database: Database, settings: Settings) -> None:
        self._store: Final = store
        self._database: Final = database
        self._settings: Final = settings
        self._lock: Final = threading.Lock()
        self._bytes = 0
        self._counted: float | None = None

    def check_disk(self, more_bytes: int) -> None:
        """Raise OutOfResources where the disk has no space for more bytes. Never waits for the database."""
        min_free = self._settings.archive_min_free_bytes
        if self._store.free_bytes() < min_free + more_bytes:
            raise OutOfResources(
                f"the archive's disk has less than {min_free} bytes free (CXRSERVE_ARCHIVE_MIN_FREE_BYTES). "
                "Free some space, and send the object again.",
                retry_after_s=300,
            )

    def check_archive(self, more_bytes: int) -> None:
        """Raise OutOfResources where an object of this size would exceed the limit."""
        max_bytes = self._settings.archive_max_bytes
        if self._held() + more_bytes > max_bytes:
            raise OutOfResources(
                f"the archive holds {max_bytes} bytes of objects, its limit (CXRSERVE_ARCHIVE_MAX_BYTES). "
                "Shorten the retention or raise the limit, and send the object again.",
                retry_after_s=300,
            )

    def add(self, more_bytes: int) -> None:
        """Count an object that was stored."""
        with self._lock:
            self._bytes += more_bytes

    def _held(self) -> int:
        now = time.monotonic()
        with self._lock:
            if self._counted is None or now - self._counted > _COUNT_EVERY_S:
                with answering(), self._database.reading() as connection:
                    held = connection.execute(
                        sa.select(sa.func.coalesce(sa.func.sum(OBJECTS.c.bytes), 0)).where(
                            OBJECTS.c.expired == 0
                        )
                    ).scalar_one()
                self._bytes, self._counted = int(held), now
            return self._bytes
