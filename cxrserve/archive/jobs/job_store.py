"""Job store: inspect, retry and purge jobs, including dead letters, beside a running node."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from cxrserve.archive.destination import CommitmentRequest
from cxrserve.archive.receipt import Reason
from cxrserve.archive.storage.database import Database, sqlalchemy_url
from cxrserve.archive.storage.tables import JOBS, QUARANTINE, STUDIES, JobKind, JobRow, JobState
from cxrserve.archive.workitems import Task
from cxrserve.errors import ConfigurationError, RequestError
from cxrserve.schema import Frozen
from cxrserve.settings import Settings

_SHORT: Final = 8
_MAX_NAMED: Final = 20


class Job(Frozen):
    """One job: a study's revision, its delivery to a destination, a Storage Commitment report, a workitem.

    Attributes:
        short_id: eight characters that stand for `id`, which begins like those of other jobs of its study.
        study_instance_uid: "" for a commitment and a workitem.
        destination: of a delivery or a workitem its name in the rules; of a commitment the AE title of the
            modality.
        files: of a delivery, below the folder results/.
        commitment: the request to report on.
        workitem: how far it has come.
    """

    id: str
    short_id: str
    kind: JobKind
    study_instance_uid: str
    revision: int
    destination: str
    files: list[str]
    commitment: CommitmentRequest | None
    workitem: Task | None
    state: JobState
    attempts: int
    problem: dict[str, Any] | None
    due: float
    created: float
    changed: float


class Quarantined(Frozen):
    """A quarantined object: its UID is stored with other content, or its study is another patient's."""

    sop_instance_uid: str
    sha256: str
    protocol: str
    calling_ae: str
    received: float
    reason: Reason


class JobStore:
    """The jobs of one archive."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    @classmethod
    def open(cls, settings: Settings) -> JobStore:
        """The jobs of the archive in `settings`, without starting any work.

        Raises:
            ConfigurationError: there is no archive.
        """
        return cls(open_database(settings, must_exist=True))

    def jobs(self, state: JobState | None = None, limit: int = 1000) -> list[Job]:
        """Jobs that are not done, or those in `state`."""
        which = JOBS.c.state != "done" if state is None else JOBS.c.state == state
        return self._jobs(which, limit)

    def find(self, job: str) -> Job:
        """The job with this id or short id, or the only one whose id begins like this.

        Of several whose ids begin like this, the only one that is not done.

        Raises:
            RequestError: there is none, or more than one.
        """
        jobs = self._jobs(JOBS.c.id == job, 1)
        if not jobs and len(job) == _SHORT:
            with self._database.reading() as connection:
                ids = [
                    row for row in connection.execute(sa.select(JOBS.c.id)).scalars() if short_id(row) == job
                ]
            jobs = self._jobs(JOBS.c.id.in_(ids), _MAX_NAMED)
        if not jobs:
            jobs = self._jobs(JOBS.c.id.startswith(job, autoescape=True), _MAX_NAMED)
        unfinished = [candidate for candidate in jobs if candidate.state != "done"]
        if len(jobs) > 1 and len(unfinished) == 1:
            return unfinished[0]
        if len(jobs) != 1:
            names = ", ".join(
                f"{candidate.short_id} ({candidate.kind}, {candidate.destination or '-'})"
                for candidate in jobs
            )
            several = f"several jobs begin with {job[:40]!r}: {names}. Give one of these short ids."
            raise RequestError(several if jobs else f"no job has the id {job[:40]!r}, or one that begins so.")
        return jobs[0]

    def _jobs(self, which: sa.ColumnElement[bool], limit: int) -> list[Job]:
        query = (
            sa.select(JOBS, STUDIES.c.study_instance_uid)
            .outerjoin(STUDIES)
            .where(which)
            .order_by(JOBS.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_job(JobRow._make(row), study) for *row, study in connection.execute(query)]

    def retry(self, job: str | None = None) -> int:
        """Try a job at once that is dead or waits for its next try, or all dead letters; their number."""
        return self._change(job, state="waiting", tried_s=0.0, due=0.0, changed=time.time())

    def purge(self, job: str | None = None) -> int:
        """Give up a job that is dead or waits, or all dead letters, for good; their number.

        Results stay in the archive. A job that a node works on at this moment is not given up.
        """
        return self._change(job, state="done", changed=time.time())

    def _change(self, job: str | None, **values: object) -> int:
        which = (
            [JOBS.c.state == "dead"]
            if job is None
            else [JOBS.c.id == job, JOBS.c.state.in_(("dead", "waiting")), JOBS.c.claimed_by == ""]
        )
        with self._database.writing() as connection:
            changed = connection.execute(JOBS.update().where(*which).values(**values)).rowcount
            self._database.touch(connection)
        return int(changed)

    def quarantine(self) -> list[Quarantined]:
        """Quarantined objects."""
        with self._database.reading() as connection:
            return [
                Quarantined.model_validate(row._asdict()) for row in connection.execute(sa.select(QUARANTINE))
            ]

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


def open_database(settings: Settings, *, must_exist: bool = False) -> Database:
    """The database of the archive in `settings`.

    Raises:
        ConfigurationError: no archive is set, or its database cannot be used.
    """
    if settings.archive is None:
        raise ConfigurationError("no archive is set. Give its folder as CXRSERVE_ARCHIVE.")
    file = settings.archive.resolve() / "index.db"
    database_url = settings.database_url.get_secret_value()
    if must_exist and not database_url and not file.exists():
        raise ConfigurationError(f"there is no archive in {settings.archive}: {file.name} is missing.")
    return Database(sqlalchemy_url(database_url, file), timeout_s=settings.database_timeout_s)


def short_id(job: str) -> str:
    """Eight characters that stand for the id of a job."""
    return sha256(job.encode()).hexdigest()[:_SHORT]


def _job(row: JobRow, study_instance_uid: str | None) -> Job:
    payload = json.loads(row.payload)
    return Job(
        id=row.id,
        short_id=short_id(row.id),
        kind=row.kind,
        study_instance_uid=study_instance_uid or "",
        revision=row.revision,
        destination=row.destination,
        files=payload if row.kind == "delivery" else [],
        commitment=CommitmentRequest.model_validate(payload) if row.kind == "commitment" else None,
        workitem=Task.model_validate(payload) if row.kind == "workitem" else None,
        state=row.state,
        attempts=row.attempts,
        problem=None if row.problem is None else json.loads(row.problem),
        due=row.due,
        created=row.created,
        changed=row.changed,
    )
