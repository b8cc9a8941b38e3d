"""Scheduler: makes jobs of quiet studies and starts jobs that are due. One thread in each node.

- A study that has been quiet long enough gets a revision over all its objects; a late image opens it again,
and
  the next revision covers that one too. Quiet is measured on the monotonic clock of this process from when it
  saw the last change, so no clock that is set can shorten it; a restart begins a new quiet time.
- Jobs that are due are claimed, as many as there are free worker threads.
- Nodes whose heartbeat stands still are dead, and another one takes over their jobs.

It sleeps until something is due. Objects that this process commits and jobs that end here ring its alarm.
What other processes do (another node, `cxrserve pacs queue retry`) shows in the change counter: one small
query every two seconds while nothing happens, more often after a change.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.jobs.alarm import Alarm
from cxrserve.archive.jobs.queue import DurableQueue, new_job
from cxrserve.archive.jobs.workers import Workers
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import revision_key
from cxrserve.archive.storage.tables import JOBS, STUDIES, StudyRow

_log: Final = logging.getLogger("cxrserve.archive")
_MIN_LOOK_S, _MAX_LOOK_S = 0.5, 2.0  # between looks at what other processes have changed; doubled while idle
_LOOK_AGAIN_S: Final = 0.05
_AFTER_ERROR_S: Final = 1.0
_BEAT_S: Final = 5.0
_SILENT_S: Final = 60.0
_RETENTION_S: Final = 3600.0


class Scheduler:
    """Runs from its construction until closed.

    Args:
        alarm: rung by others when there may be something to do.
        expire: deletes what the retention rules say; called every hour.
    """

    def __init__(
        self,
        database: Database,
        queue: DurableQueue,
        workers: Workers,
        alarm: Alarm,
        *,
        node: str,
        expire: Callable[[], None],
    ) -> None:
        self._database: Final = database
        self._queue: Final = queue
        self._workers: Final = workers
        self._alarm: Final = alarm
        self._node: Final = node
        self._quiet_since: Final[dict[str, tuple[int, float]]] = {}  # study: its changes, and since when
        self._beats: Final[dict[str, tuple[int, float]]] = {}  # other node: its heartbeat, and since when
        self._changes = -1  # the change counter when the database was last looked through
        self._next = 0.0  # when there is something to do that is known now
        self._look_s = _MIN_LOOK_S
        self._started = False
        self._heartbeat: Final = PeriodicTask(_BEAT_S, self._beat)
        self._retention: Final = PeriodicTask(_RETENTION_S, expire)
        self._thread: Final = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        waits_for, rang = "", True
        while not self._alarm.stopped:
            try:
                self._round(rang)
            except Exception as error:  # the database is away: all is still there when it is back
                if waits_for != (waits_for := type(error).__name__):  # logged once, however long it takes
                    _log.warning("the scheduler waits for the database: %s", waits_for)
                self._changes = -1
                self._alarm.wait(_AFTER_ERROR_S)
                rang = True
                continue
            if waits_for:
                _log.info("the scheduler goes on")
            waits_for = ""
            rang = self._alarm.wait(max(0.0, min(self._next - time.monotonic(), self._look_s)))

    def _round(self, rang: bool) -> None:
        if not self._started:
            self._queue.take_over(self._node)  # what an earlier process of this node was at
            self._queue.forget_pauses()
            self._started = True
        if self._database.shared:  # first, so that no node has jobs whose heartbeat was never seen
            self._heartbeat.run_if_due()
        changes = self._database.changes()
        if rang or changes != self._changes or time.monotonic() >= self._next:
            self._changes, self._look_s = changes, _MIN_LOOK_S
            self._next = math.inf
            self._plan_revisions()
            self._start_jobs()
        else:
            self._look_s = min(2 * self._look_s, _MAX_LOOK_S)
        self._retention.run_if_due()

    def _plan_revisions(self) -> None:
        """Give quiet studies a revision."""
        with self._database.reading() as connection:
            open_studies = [
                StudyRow._make(row)
                for row in connection.execute(sa.select(STUDIES).where(STUDIES.c.open == 1))
            ]
        now = time.monotonic()
        for key in self._quiet_since.keys() - {study.key for study in open_studies}:
            del self._quiet_since[key]
        for study in open_studies:
            changes, since = self._quiet_since.get(study.key, (-1, now))
            if changes != study.changes:
                self._quiet_since[study.key] = changes, since = study.changes, now
            if now >= since + study.quiet_s:
                self._add_revision(study)
            else:
                self._next = min(self._next, since + study.quiet_s)

    def _add_revision(self, study: StudyRow) -> None:
        with self._database.writing() as connection:
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
                    new_job(
                        id=revision_key(study.key, revision),
                        kind="study",
                        study_key=study.key,
                        revision=revision,
                        covers=study.changes,
                        stat=study.stat,
                    )
                )
            )
            self._database.touch(connection)

    def _start_jobs(self) -> None:
        """Claim and start what is due, and note when the next job is."""
        backlog = self._queue.backlog()
        for pool in self._workers.pools:
            due = min((jobs.due for jobs in backlog if pool.takes(jobs)), default=None)
            free = self._workers.free_threads(pool)
            if due is None or not free:  # a thread that becomes free rings the alarm
                continue
            if self._queue.is_due(due):
                for job in self._queue.claim(pool.jobs, free):
                    self._workers.start(pool, job)
                soon = _LOOK_AGAIN_S  # for those that come after
            else:
                soon = due - time.time()
            self._next = min(self._next, time.monotonic() + soon)

    def _beat(self) -> None:
        """Show that this node lives, take over the jobs of those that do not, and forget them."""
        now, beats = time.monotonic(), self._queue.beat()
        for node in self._beats.keys() - beats.keys():
            del self._beats[node]
        for node, beat in beats.items():
            last, since = self._beats.get(node, (-1, now))
            if beat != last:
                self._beats[node] = beat, now
            elif now - since >= _SILENT_S and (jobs := self._queue.retire(node, beat)):
                _log.warning("node %s is silent; its %d jobs are taken over", node, jobs)

    def close(self) -> None:
        """Stop. Idempotent."""
        self._alarm.stop()
        self._thread.join()


class PeriodicTask:
    """Something done every `every_s` seconds, for the first time at once."""

    def __init__(self, every_s: float, task: Callable[[], None]) -> None:
        self._every_s: Final = every_s
        self._task: Final = task
        self._next = time.monotonic()

    def run_if_due(self) -> None:
        """Do it where it is due."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every_s
            self._task()
