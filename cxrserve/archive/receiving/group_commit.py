"""Group commit: one thread, one transaction for all objects that wait at that moment.

Each commit costs the disk a flush, so objects that come together share one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final

from sqlalchemy.exc import IntegrityError

from cxrserve.archive.receiving.records import ObjectRecord
from cxrserve.archive.storage.database import Database, answering
from cxrserve.errors import OutOfResources, Stopping

_MAX_IN_ONE_COMMIT: Final = 64
_GRACE_S: Final = 5.0  # beyond what the database itself may take

_Waiting = tuple[ObjectRecord, "Future[str]"]  # and the result of `ObjectRecord.write`, once it is committed


class Committer:
    """Commits from its construction until closed. Thread-safe.

    Args:
        timeout_s: time that the database may take.
        committed: called after each commit.
    """

    def __init__(self, database: Database, *, timeout_s: float, committed: Callable[[], None]) -> None:
        self._database: Final = database
        self._committed: Final = committed
        self._timeout_s: Final = timeout_s
        self._waiting: Final[queue.SimpleQueue[_Waiting | None]] = queue.SimpleQueue()
        self._closed = False
        self._thread: Final = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def commit(self, record: ObjectRecord) -> str | None:
        """Wait until its rows are committed: None, or why they were not written (`ObjectRecord.write`).

        Raises:
            Stopping: it is closing.
            OutOfResources: the database does not answer, or not in time.
        """
        if self._closed:
            raise Stopping("the archive is closing; send the object again later.")
        outcome: Future[str] = Future()
        self._waiting.put((record, outcome))
        wait([outcome], self._timeout_s + _GRACE_S)
        if not outcome.done():
            raise OutOfResources(
                f"the archive's database took longer than {self._timeout_s:g} s "
                "(CXRSERVE_DATABASE_TIMEOUT_S). Send the object again later.",
                retry_after_s=30,
            )
        return outcome.result() or None

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, ended = [first], False
            while len(batch) < _MAX_IN_ONE_COMMIT and not self._waiting.empty():
                waiting = self._waiting.get()
                if waiting is None:
                    ended = True
                    break
                batch.append(waiting)
            try:
                self._commit(batch)
            except IntegrityError:  # another node commits one of them at this moment
                for waiting in batch:
                    self._commit_alone(waiting)
            if ended:
                return

    def _commit_alone(self, waiting: _Waiting) -> None:
        try:
            self._commit([waiting])
        except IntegrityError as error:
            waiting[1].set_exception(
                OutOfResources(
                    f"two nodes received this object at once ({type(error).__name__}). Send it again."
                )
            )

    def _commit(self, batch: list[_Waiting]) -> None:
        """One transaction for all of `batch`, always in the order of studies, so that nodes never lock up."""
        ordered = sorted(batch, key=lambda waiting: waiting[0].incoming.study_instance_uid)
        try:
            with answering(), self._database.writing() as connection:
                written = [record.write(self._database, connection) for record, _ in ordered]
                self._database.touch(connection)
        except IntegrityError:
            raise
        except Exception as error:
            for _, outcome in batch:
                outcome.set_exception(error)
            return
        for (_, outcome), before in zip(ordered, written, strict=True):
            outcome.set_result(before)
        self._committed()

    def close(self) -> None:
        """Commit what waits and stop. Idempotent."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
