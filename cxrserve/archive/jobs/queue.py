"""The durable job queue: rows of JOBS that nodes claim, work on, and end.

A job is inserted in the transaction that makes it necessary, so none is lost between the two. A node claims
it by writing its name into the row: with `FOR UPDATE SKIP LOCKED` on PostgreSQL, where several nodes claim at
once; in a write transaction on SQLite. Each claim counts `claims` up, which is its fencing token: who ends a
job under an older token changes nothing. Claims of a node that dies are released at its next start, or by
another node that has seen its heartbeat stand still. So a job may be worked on twice, and every step of a job
can be repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cxrserve.archive.jobs.retries import RetryPolicy
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.tables import JOBS, NODES, STUDIES, JobKind, JobRow, JobState

Problem = dict[str, Any]  # slug, title, detail; final: True where no other try can succeed
_WAITING: Final = JOBS.c.state == "waiting"
_FREE: Final = JOBS.c.claimed_by == ""


class NotYet(Exception):
    """A job that waits for something else to happen, which is no failure; it goes on in `pause_s` seconds."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self.pause_s: Final = pause_s


class Backlog(NamedTuple):
    """Free jobs of one kind and destination.

    Attributes:
        due: when the first of them may begin, in seconds since 1970.
    """

    kind: JobKind
    destination: str
    due: float


class DurableQueue:
    """The jobs of one archive, as one node sees them. Thread-safe, and safe beside other nodes.

    Args:
        node: this node's name, the same at every start.
    """

    def __init__(self, database: Database, node: str, policy: RetryPolicy) -> None:
        self._database: Final = database
        self._node: Final = node
        self._policy: Final = policy

    def take_over(self, node: str) -> int:
        """Release what the dead node `node` has claimed; the number of jobs."""
        with self._database.writing() as connection:
            claimed = _WAITING, JOBS.c.claimed_by == node
            released = connection.execute(JOBS.update().where(*claimed).values(claimed_by="")).rowcount
            if released:
                self._database.touch(connection)
        return int(released)

    def forget_pauses(self) -> None:
        """Make failed jobs due again soon, spread by jitter: at a start, as no pause outlives a process."""
        with self._database.writing() as connection:
            waiting = sa.select(JOBS.c.id).where(_WAITING, _FREE, JOBS.c.attempts > 0)
            now = time.time()
            soon = [
                {"job": job, "soon": now + self._policy.pause_s(1)}
                for job in connection.execute(waiting).scalars()
            ]
            if soon:
                connection.execute(
                    JOBS.update().where(JOBS.c.id == sa.bindparam("job")).values(due=sa.bindparam("soon")),
                    soon,
                )

    def backlog(self) -> list[Backlog]:
        """Condition for jobs that may be claimed now or later."""
        query = (
            sa.select(JOBS.c.kind, JOBS.c.destination, sa.func.min(JOBS.c.due))
            .where(_WAITING, _FREE)
            .group_by(JOBS.c.kind, JOBS.c.destination)
        )
        with self._database.reading() as connection:
            return [Backlog(*row) for row in connection.execute(query)]

    def is_due(self, due: float) -> bool:
        """True where a job may begin; a time too far ahead dates from before the clock was set."""
        now = time.time()
        return due <= now or due > now + self._policy.max_pause_s

    def claim(self, which: sa.ColumnElement[bool], limit: int) -> list[JobRow]:
        """Claim up to `limit` of the due jobs in `which`: stat before routine, then those due first."""
        now = time.time()
        due = sa.or_(JOBS.c.due <= now, JOBS.c.due > now + self._policy.max_pause_s)
        query = (
            sa.select(JOBS.c.id)
            .where(_WAITING, _FREE, due, which)
            .order_by(JOBS.c.stat.desc(), JOBS.c.due, JOBS.c.created, JOBS.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)  # left out on SQLite, where the transaction has the write lock
        )
        with self._database.writing() as connection:
            ids = list(connection.execute(query).scalars())
            if not ids:
                return []
            claimed = connection.execute(
                JOBS.update()
                .where(JOBS.c.id.in_(ids))
                .values(claimed_by=self._node, claims=JOBS.c.claims + 1)
                .returning(*JOBS.c)
            )
            return sorted((JobRow._make(row) for row in claimed), key=lambda job: ids.index(job.id))

    def end(self, job: JobRow, problem: Problem | None) -> JobState | None:
        """Write down how a try ended: done without a problem; its new state, None where the claim was lost.

        A job that cannot succeed, or that was tried for long enough, becomes a dead letter.
        """
        attempt = job.attempts + 1
        pause_s = self._policy.pause_s(attempt)
        with self._database.writing() as connection:
            held = JOBS.c.id == job.id, JOBS.c.claims == job.claims, _WAITING, JOBS.c.attempts < attempt
            if connection.execute(sa.select(JOBS.c.id).where(*held).with_for_update()).first() is None:
                return None
            state: JobState = "done"
            if problem is not None:
                given_up = problem["final"] or self._policy.is_exhausted(job.tried_s)
                state = "dead" if given_up else "waiting"
            connection.execute(
                JOBS.update()
                .where(JOBS.c.id == job.id)
                .values(
                    state=state,
                    attempts=attempt,
                    claimed_by="",
                    due=time.time() + pause_s,
                    tried_s=job.tried_s + pause_s,
                    problem=None if problem is None else json.dumps(problem),
                    changed=time.time(),
                )
            )
            if job.kind == "study" and problem is not None:
                connection.execute(
                    update_revision(job).values(state="failed" if state == "dead" else "waiting")
                )
            self._database.touch(connection)
        return state

    def save(self, job: JobRow, payload: str) -> JobRow:
        """Write down how far a job has come.

        Raises:
            NotYet: another node has taken the job over.
        """
        with self._database.writing() as connection:
            held = JOBS.c.id == job.id, JOBS.c.claims == job.claims, _WAITING
            if not connection.execute(JOBS.update().where(*held).values(payload=payload)).rowcount:
                raise NotYet(0.0)
        return job._replace(payload=payload)

    def postpone(self, job: JobRow, pause_s: float) -> None:
        """Release a job that waits for something else. Its earlier failures are forgotten: it has come on."""
        # A longer pause would be taken for one from before the clock was set.
        due = time.time() + min(pause_s, self._policy.max_pause_s)
        with self._database.writing() as connection:
            connection.execute(
                JOBS.update()
                .where(JOBS.c.id == job.id, JOBS.c.claims == job.claims, _WAITING)
                .values(claimed_by="", due=due, attempts=0, tried_s=0.0, problem=None)
            )

    def beat(self) -> Mapping[str, int]:
        """Show other nodes that this one lives; the heartbeat of each of them.

        A node that holds jobs but has no row, since it was retired too early, is among them with 0.
        """
        with self._database.writing() as connection:
            if not self._database.insert_new(connection, NODES, name=self._node, beat=1):
                connection.execute(
                    NODES.update().where(NODES.c.name == self._node).values(beat=NODES.c.beat + 1)
                )
            holders = sa.select(JOBS.c.claimed_by).where(_WAITING, JOBS.c.claimed_by.not_in(("", self._node)))
            rows = connection.execute(sa.select(NODES).where(NODES.c.name != self._node))
            return {
                **dict.fromkeys(connection.execute(holders.distinct()).scalars(), 0),
                **{row.name: row.beat for row in rows},
            }

    def retire(self, node: str, beat: int) -> int:
        """Release what the silent node `node` has claimed, and delete its row if `beat` is its last one.

        Pods have a new name at each start: without this their rows would only become more.

        Returns:
            the number of jobs that were released.
        """
        released = self.take_over(node)
        with self._database.writing() as connection:
            connection.execute(NODES.delete().where(NODES.c.name == node, NODES.c.beat == beat))
        return released


def new_job(
    *,
    id: str,
    kind: JobKind,
    study_key: str | None = None,
    revision: int = 0,
    covers: int = 0,
    destination: str = "",
    payload: object = (),
    stat: int = 0,
) -> dict[str, object]:
    """The row of a job that nobody has tried yet."""
    now = time.time()
    return JobRow(
        id=id,
        kind=kind,
        study_key=study_key,
        revision=revision,
        covers=covers,
        destination=destination,
        payload=json.dumps(payload),
        stat=stat,
        state="waiting",
        attempts=0,
        claims=0,
        claimed_by="",
        due=now,
        tried_s=0.0,
        problem=None,
        created=now,
        changed=now,
    )._asdict()


def update_revision(job: JobRow) -> sa.Update:
    """An update of the study of `job`, only while the job's revision is the newest."""
    return STUDIES.update().where(STUDIES.c.key == job.study_key, STUDIES.c.revision == job.revision)


def corrected_since(connection: sa.Connection, job: JobRow) -> bool:
    """True where the patient or order of the study of `job` was corrected after what the job covers."""
    corrected = connection.execute(
        sa.select(STUDIES.c.corrected).where(STUDIES.c.key == job.study_key)
    ).scalar()
    return corrected is not None and int(corrected) > job.covers
