"""The thread that commits: one transaction for all objects that wait at that moment.

Each commit costs the disk a flush, so objects that come together share one.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future, wait
from typing import Final

from sqlalchemy.exc import IntegrityError

from cxrserve.archive.entry import Entry
from cxrserve.archive.index import Index, answering
from cxrserve.errors import NotReady, OutOfResources

_MOST_IN_ONE_COMMIT: Final = 64
_GRACE_S: Final = 5.0  # beyond what the database itself may take

_Waiting = tuple[Entry, "Future[str]"]  # and what `Entry.write` gave, once it is committed


class Committer:
    """Commits from its construction until closed. Thread-safe.

    Args:
        timeout_s: time that the database may take.
    """

    def __init__(self, index: Index, *, timeout_s: float) -> None:
        self._index: Final = index
        self._timeout_s: Final = timeout_s
        self._waiting: Final[queue.SimpleQueue[_Waiting | None]] = queue.SimpleQueue()
        self._closed = False
        self._thread: Final = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def commit(self, entry: Entry) -> str | None:
        """Wait until its rows are committed: None, or what another sender was faster with (`Entry.write`).

        Raises:
            NotReady: it is closing.
            OutOfResources: the database does not answer, or not in time.
        """
        if self._closed:
            raise NotReady("the archive is closing; send the object again later.")
        done: Future[str] = Future()
        self._waiting.put((entry, done))
        wait([done], self._timeout_s + _GRACE_S)
        if not done.done():
            raise OutOfResources(
                f"the archive's database took longer than {self._timeout_s:g} s "
                "(CXRSERVE_DATABASE_TIMEOUT_S). Send the object again later.",
                retry_after_s=30,
            )
        return done.result() or None

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, ended = [first], False
            while len(batch) < _MOST_IN_ONE_COMMIT and not self._waiting.empty():
                waiting = self._waiting.get()
                if waiting is None:
                    ended = True
                    break
                batch.append(waiting)
            try:
                self._commit(batch)
            except IntegrityError:  # another node keeps one of them at this moment
                for waiting in batch:
                    self._commit_alone(waiting)
            if ended:
                return

    def _commit_alone(self, waiting: _Waiting) -> None:
        try:
            self._commit([waiting])
        except IntegrityError as error:
            waiting[1].set_exception(
                OutOfResources(f"two nodes keep this object at once ({type(error).__name__}). Send it again.")
            )

    def _commit(self, batch: list[_Waiting]) -> None:
        """One transaction for all of `batch`, always in the order of studies, so that nodes never lock up."""
        ordered = sorted(batch, key=lambda each: each[0].incoming.study_instance_uid)
        try:
            with answering(), self._index.writing() as connection:
                written = [entry.write(self._index, connection) for entry, _ in ordered]
                self._index.touch(connection)
        except IntegrityError:
            raise
        except Exception as error:
            for _, done in batch:
                done.set_exception(error)
            return
        for (_, done), before in zip(ordered, written, strict=True):
            done.set_result(before)

    def close(self) -> None:
        """Commit what waits and stop. Idempotent."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
