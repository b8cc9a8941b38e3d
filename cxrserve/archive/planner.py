"""The planner: turns what the index says is undone into tries of jobs. One thread in each node.

- A study that has been quiet long enough gets a revision over all that has arrived; a late image opens it
  again, and the next revision covers that one too. Quiet is measured on the monotonic clock of this process
  from when it saw the last change, so no clock that is set can shorten it; a restart begins anew.
- A job whose try is due is handed to the engine. Handing over twice is one try (`work.Work`), so a crash
  between the engine's commit and the index's costs nothing.
- A try that no workflow is at any more counts as ended. Nodes whose beat stands still are dead, and another
  takes over what they were at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from cxrserve.archive.index import JOBS, NODES, STUDIES, Index
from cxrserve.archive.retries import Retries
from cxrserve.archive.study import job_id
from cxrserve.archive.work import Work

_log: Final = logging.getLogger("cxrserve.archive")
_TICK_S: Final = 0.1
_MOST_AT_ONCE: Final = 200
_BEAT_S: Final = 5.0
_SILENT_S: Final = 60.0
_SURVEY_S: Final = 5.0
_RETENTION_S: Final = 3600.0


class Planner:
    """Runs from its construction until closed.

    Args:
        node: this node's name.
        expire: deletes what retention says; called every hour.
    """

    def __init__(
        self, index: Index, work: Work, retries: Retries, *, node: str, expire: Callable[[], None]
    ) -> None:
        self._index: Final = index
        self._work: Final = work
        self._retries: Final = retries
        self._node: Final = node
        self._seen: Final[dict[str, tuple[int, float]]] = {}  # study: changes, and since when
        self._beats: Final[dict[str, tuple[int, float]]] = {}  # other node: beat, and since when
        self._due: list[str] = []  # jobs whose pause is over
        self._doubted: set[tuple[str, int]] = set()
        self._surveyed = False
        self._stop: Final = threading.Event()
        self._duties: Final[list[Callable[[], None]]] = [
            _Chore(_BEAT_S, self._beat),  # first: what a node is at that was never heard of nobody takes over
            self._plan,
            self._start_new,
            self._start_due,
            _Chore(_SURVEY_S, self._survey),
            _Chore(_RETENTION_S, expire),
        ]
        self._thread: Final = threading.Thread(target=self._run, name="planner", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        waits_for = ""
        while not self._stop.is_set():
            failed = ""
            for work in self._duties:
                try:
                    work()
                except Exception as error:  # the database is away: everything is still there when it is back
                    failed = type(error).__name__
                    if failed != waits_for:  # said once, however long it takes
                        _log.warning("the planner waits: %s", failed)
                        waits_for = failed
                    self._stop.wait(1.0)
            if waits_for and not failed:
                _log.info("the planner goes on")
            waits_for = failed
            self._stop.wait(_TICK_S)

    def _plan(self) -> None:
        """Give quiet studies a revision."""
        with self._index.reading() as connection:
            rows = connection.execute(
                sa.select(STUDIES.c.key, STUDIES.c.changes, STUDIES.c.quiet_s, STUDIES.c.stat).where(
                    STUDIES.c.open == 1
                )
            ).all()
        now = time.monotonic()
        for key in self._seen.keys() - {row.key for row in rows}:
            del self._seen[key]
        for row in rows:
            changes, since = self._seen.get(row.key, (-1, now))
            if changes != row.changes:
                self._seen[row.key] = changes, since = row.changes, now
            if now - since >= row.quiet_s:
                self._add_revision(row)

    def _add_revision(self, study: Any) -> None:
        with self._index.writing() as connection:
            revision = connection.execute(
                STUDIES.update()
                .where(
                    STUDIES.c.key == study.key,
                    STUDIES.c.changes == study.changes,  # nothing has come since
                    STUDIES.c.planned < study.changes,  # no other node was faster
                )
                .values(
                    planned=study.changes,
                    revision=STUDIES.c.revision + 1,
                    open=0,
                    state="waiting",
                    positive=None,
                )
                .returning(STUDIES.c.revision)
            ).scalar()
            if revision is None:
                return
            connection.execute(
                JOBS.insert().values(
                    id=job_id(study.key, revision),
                    kind="study",
                    study_key=study.key,
                    revision=revision,
                    covers=study.changes,
                    destination="",
                    files="[]",
                    stat=study.stat,
                    state="waiting",
                    attempts=0,
                    started=0,
                    tried_s=0.0,
                    created=time.time(),
                    changed=time.time(),
                )
            )
            self._index.touch(connection)

    def _start_new(self) -> None:
        """Start jobs that were never tried."""
        self._start(JOBS.c.attempts == 0)

    def _start_due(self) -> None:
        """Start jobs whose pause after a failure is over; each is told once, so the rest stays."""
        self._due += self._retries.due()
        due, self._due = self._due[:_MOST_AT_ONCE], self._due[_MOST_AT_ONCE:]
        if due:
            self._start(JOBS.c.id.in_(due))

    def _start(self, which: sa.ColumnElement[bool]) -> None:
        with self._index.reading() as connection:
            rows = connection.execute(
                sa.select(JOBS)
                .where(JOBS.c.state == "waiting", JOBS.c.started == JOBS.c.attempts, which)
                .order_by(JOBS.c.stat.desc())
                .limit(_MOST_AT_ONCE)
            ).all()
        for row in rows:
            if row.kind == "study":
                self._work.start_study(row.id, row.attempts + 1, stat=bool(row.stat))
            else:
                self._work.start_delivery(row.id, row.attempts + 1, row.destination, stat=bool(row.stat))
        if rows:
            with self._index.writing() as connection:
                for row in rows:
                    connection.execute(
                        JOBS.update()
                        .where(JOBS.c.id == row.id, JOBS.c.started == row.attempts)
                        .values(started=row.attempts + 1)
                    )

    def _survey(self) -> None:
        """Find tries that were lost, and retries that no process remembers."""
        with self._index.reading() as connection:
            rows = connection.execute(
                sa.select(JOBS.c.id, JOBS.c.attempts, JOBS.c.started, JOBS.c.tried_s).where(
                    JOBS.c.state == "waiting", sa.or_(JOBS.c.attempts > 0, JOBS.c.started > 0)
                )
            ).all()
        begun = [(row.id, row.started) for row in rows if row.started > row.attempts]
        lost = set(self._work.lost(begun))
        # Twice in a row: a workflow may have ended between the two queries.
        for job, attempt in lost & self._doubted:
            _log.warning("job=%s attempt=%d was lost, and is tried again", job, attempt)
            with self._index.writing() as connection:
                connection.execute(
                    JOBS.update().where(JOBS.c.id == job, JOBS.c.attempts < attempt).values(attempts=attempt)
                )
        self._doubted = lost - self._doubted
        for row in rows:
            if row.started == row.attempts:
                # No pause outlives a process: at the start all are soon due. So is a dead letter that
                # somebody has asked to retry: its time begins anew, however many its tries were.
                anew = not self._surveyed or row.tried_s == 0
                self._retries.later(row.id, self._retries.pause_s(1 if anew else row.attempts))
        self._surveyed = True

    def _beat(self) -> None:
        """Say that this node lives, and take over from those that do not."""
        with self._index.writing() as connection:
            if not self._index.insert_new(connection, NODES, name=self._node, beat=1):
                connection.execute(
                    NODES.update().where(NODES.c.name == self._node).values(beat=NODES.c.beat + 1)
                )
            rows = connection.execute(sa.select(NODES).where(NODES.c.name != self._node)).all()
        now = time.monotonic()
        for row in rows:
            beat, since = self._beats.get(row.name, (-1, now))
            if beat != row.beat:
                self._beats[row.name] = row.beat, now
            elif now - since >= _SILENT_S:
                self._work.recover(row.name)

    def close(self) -> None:
        """Stop. Idempotent."""
        self._stop.set()
        self._thread.join()


class _Chore:
    """Something done every `every_s`, for the first time at once."""

    def __init__(self, every_s: float, work: Callable[[], None]) -> None:
        self._every_s: Final = every_s
        self._work: Final = work
        self._next = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every_s
            self._work()
