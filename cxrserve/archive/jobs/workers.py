"""Worker threads: one for each job that is at work, so that an idle station has none.

Studies, the deliveries of each destination, and Storage Commitment reports have a pool each: a destination
that hangs holds up nothing but its own deliveries.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.jobs.queue import Backlog, DurableQueue, NotYet, Problem
from cxrserve.archive.jobs.read_image import RuleGone
from cxrserve.archive.storage.tables import JOBS, JobKind, JobRow, JobState
from cxrserve.errors import CxrserveError

RunJob = Callable[[JobRow], None]
_log: Final = logging.getLogger("cxrserve.archive")
_DATABASE_PAUSE_S: Final = 1.0


@dataclass(kw_only=True, eq=False)
class Pool:
    """Jobs that share a number of threads.

    Attributes:
        kind: the kind of its jobs.
        destinations: those of its jobs; an empty string for jobs without one.
        all_but: True where it takes all destinations but `destinations`.
        size: jobs at work at once.
        running: jobs at work now.
    """

    kind: JobKind
    size: int
    destinations: Collection[str] = ()
    all_but: bool = False
    running: int = field(default=0, init=False)

    def takes(self, backlog: Backlog) -> bool:
        """True where these jobs belong here."""
        return backlog.kind == self.kind and (backlog.destination in self.destinations) != self.all_but

    @property
    def jobs(self) -> sa.ColumnElement[bool]:
        """Its jobs, as a condition on JOBS."""
        destination = JOBS.c.destination
        names = sorted(self.destinations)
        return sa.and_(
            JOBS.c.kind == self.kind, destination.not_in(names) if self.all_but else destination.in_(names)
        )


def pools_of(
    destinations: Collection[str],
    *,
    studies: int,
    deliveries: int,
    commitments: bool,
    reconciliations: bool,
    priors: bool,
    worklists: Collection[str] | None = None,
) -> list[Pool]:
    """The pools of a node that knows `destinations`.

    Deliveries to other destinations have a pool as well: they fail, with that reason, and are seen. So do
    workitems of other worklists.
    """
    pools = [
        Pool(kind="study", size=studies, all_but=True),
        *(Pool(kind="delivery", size=deliveries, destinations=[name]) for name in destinations),
        Pool(kind="delivery", size=1, destinations=destinations, all_but=True),
    ]
    if commitments:
        pools.append(Pool(kind="commitment", size=deliveries, all_but=True))
    if reconciliations:
        pools.append(Pool(kind="reconciliation", size=1, all_but=True))
    if priors:
        pools.append(Pool(kind="priors", size=1, all_but=True))
    if worklists is not None:
        pools += [Pool(kind="workitem", size=deliveries, destinations=[name]) for name in worklists]
        pools.append(Pool(kind="workitem", size=1, destinations=worklists, all_but=True))
    return pools


class Workers:
    """Runs claimed jobs and writes down how they ended. Thread-safe.

    Args:
        run: what does a job of each kind; it raises an error where the job is not done.
        ended: called after each job, from its thread, with the job and its new state.
        free: called when a thread has become free.
    """

    def __init__(
        self,
        queue: DurableQueue,
        pools: Sequence[Pool],
        run: Mapping[JobKind, RunJob],
        ended: Callable[[JobRow, JobState], None],
        free: Callable[[], None],
    ) -> None:
        self.pools: Final = pools
        self._queue: Final = queue
        self._run: Final = run
        self._ended: Final = ended
        self._idle: Final = threading.Condition()
        self._closing: Final = threading.Event()
        self._abandoned: Final = threading.Event()
        self._on_free: Final = free

    def free_threads(self, pool: Pool) -> int:
        """Number of jobs that `pool` can take now; 0 once it is closing."""
        with self._idle:
            return 0 if self._closing.is_set() else pool.size - pool.running

    def start(self, pool: Pool, job: JobRow) -> None:
        """Work on a job that this node has claimed."""
        with self._idle:
            pool.running += 1
        threading.Thread(target=self._work, args=(pool, job), name=f"{job.kind}-job", daemon=True).start()

    def _work(self, pool: Pool, job: JobRow) -> None:
        try:
            self._end(job, self._outcome_of(job))
        finally:
            with self._idle:
                pool.running -= 1
                self._idle.notify_all()
            self._on_free()

    def _outcome_of(self, job: JobRow) -> Problem | NotYet | None:
        try:
            self._run[job.kind](job)
        except NotYet as waits:
            return waits
        except Exception as error:
            return problem_of(error)
        return None

    def _end(self, job: JobRow, problem: Problem | NotYet | None) -> None:
        """Write the end down, as soon as the database answers; before that the job stays claimed."""
        while not self._abandoned.is_set():
            try:
                if isinstance(problem, NotYet):
                    self._queue.postpone(job, problem.pause_s)
                    return
                state = self._queue.end(job, problem)
            except Exception as error:
                _log.warning("job=%s waits for the database: %s", job.id, type(error).__name__)
                self._abandoned.wait(_DATABASE_PAUSE_S)
                continue
            if state is not None:
                _log.log(
                    logging.INFO if problem is None else logging.WARNING,
                    "job=%s attempt=%d state=%s outcome=%s",
                    job.id,
                    job.attempts + 1,
                    state,
                    "ok" if problem is None else problem["slug"],
                )
                self._ended(job, state)
            return

    def close(self, timeout_s: float) -> None:
        """Give running jobs `timeout_s` to end; what does not is taken up at the next start. Idempotent."""
        self._closing.set()
        until = time.monotonic() + timeout_s
        with self._idle:
            while any(pool.running for pool in self.pools) and (left := until - time.monotonic()) > 0:
                self._idle.wait(left)
        self._abandoned.set()


def problem_of(error: Exception) -> Problem:
    """Stored form of an error; an unexpected one is stored by type only, since its text may quote a file."""
    if isinstance(error, CxrserveError):
        final = isinstance(error, RuleGone) or (isinstance(error, DeliveryError) and not error.retryable)
        return {"slug": error.slug, "title": error.title, "detail": error.detail, "final": final}
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("a job failed: %s\n%s", type(error).__name__, frames.rstrip())
    return {
        "slug": CxrserveError.slug,
        "title": CxrserveError.title,
        "detail": f"the job failed unexpectedly ({type(error).__name__}); the log has the traceback.",
        "final": False,
    }
