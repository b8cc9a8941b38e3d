"""How much more the archive may keep."""

from __future__ import annotations

import threading
import time
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.index import OBJECTS, Index, answering
from cxrserve.archive.store import Store
from cxrserve.errors import OutOfResources
from cxrserve.settings import Settings

_COUNTED_EVERY_S: Final = 30.0


class Room:
    """How much more may be kept; counted anew from time to time, as other nodes keep objects too."""

    def __init__(self, store: Store, index: Index, settings: Settings) -> None:
        self._store: Final = store
        self._index: Final = index
        self._settings: Final = settings
        self._lock: Final = threading.Lock()
        self._bytes = 0
        self._counted: float | None = None

    def check_disk(self, more_bytes: int) -> None:
        """Pass, or raise OutOfResources, before so many bytes are written. Never waits for the database."""
        least = self._settings.archive_min_free_bytes
        if self._store.free_bytes() < least + more_bytes:
            raise OutOfResources(
                f"the archive's disk has less than {least} bytes free (CXRSERVE_ARCHIVE_MIN_FREE_BYTES). "
                "Make room, and send the object again.",
                retry_after_s=300,
            )

    def check_archive(self, more_bytes: int) -> None:
        """Pass, or raise OutOfResources, before an object of so many bytes is kept."""
        most = self._settings.archive_max_bytes
        if self._held() + more_bytes > most:
            raise OutOfResources(
                f"the archive holds {most} bytes of objects, the most it may (CXRSERVE_ARCHIVE_MAX_BYTES). "
                "Shorten the retention or raise the limit, and send the object again.",
                retry_after_s=300,
            )

    def took(self, more_bytes: int) -> None:
        """Count an object that was kept."""
        with self._lock:
            self._bytes += more_bytes

    def _held(self) -> int:
        now = time.monotonic()
        with self._lock:
            if self._counted is None or now - self._counted > _COUNTED_EVERY_S:
                with answering(), self._index.reading() as connection:
                    held = connection.execute(
                        sa.select(sa.func.coalesce(sa.func.sum(OBJECTS.c.bytes), 0)).where(
                            OBJECTS.c.expired == 0
                        )
                    ).scalar_one()
                self._bytes, self._counted = int(held), now
            return self._bytes
