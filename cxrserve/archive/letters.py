"""Jobs to look at from outside: what waits, what was given up, and what to do about it.

Works beside a running node, which notices within seconds.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from cxrserve.archive.index import JOBS, QUARANTINE, STUDIES, Index, sqlalchemy_url
from cxrserve.archive.receipt import Reason
from cxrserve.errors import ConfigurationError, RequestError
from cxrserve.settings import Settings

JobState = Literal["waiting", "done", "dead"]


class Job(BaseModel):
    """One job: the making of a study's revision, or its delivery to one destination."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Literal["study", "delivery"]
    study_instance_uid: str
    revision: int
    destination: str
    files: list[str]
    state: JobState
    attempts: int
    problem: dict[str, Any] | None
    created: float
    changed: float


class Quarantined(BaseModel):
    """An object that was set aside: its UID was kept with other content, or its study of another patient."""

    model_config = ConfigDict(frozen=True)

    sop_instance_uid: str
    sha256: str
    protocol: str
    calling_ae: str
    received: float
    reason: Reason


class Letters:
    """The jobs of one archive."""

    def __init__(self, index: Index) -> None:
        self._index: Final = index

    @classmethod
    def open(cls, settings: Settings) -> Letters:
        """The jobs of the archive in `settings`, without starting any work.

        Raises:
            ConfigurationError: there is no archive.
        """
        return cls(open_index(settings, must_exist=True))

    def jobs(self, state: JobState | None = None, limit: int = 1000) -> list[Job]:
        """Jobs that are not done, or those in `state`."""
        which = JOBS.c.state != "done" if state is None else JOBS.c.state == state
        return self._jobs(which, limit)

    def find(self, job: str) -> Job:
        """The job with this id, or the only one whose id begins like this.

        Raises:
            RequestError: there is none, or more than one.
        """
        found = self._jobs(JOBS.c.id == job, 1) or self._jobs(JOBS.c.id.startswith(job, autoescape=True), 2)
        if len(found) != 1:
            many = "several jobs begin" if found else "no job begins"
            raise RequestError(f"{many} with {job[:40]!r}; `cxrserve pacs queue list` lists them.")
        return found[0]

    def _jobs(self, which: sa.ColumnElement[bool], limit: int) -> list[Job]:
        query = sa.select(JOBS, STUDIES.c.study_instance_uid).join(STUDIES).where(which).order_by(JOBS.c.id)
        with self._index.reading() as connection:
            return [_job(row) for row in connection.execute(query.limit(limit))]

    def retry(self, job: str | None = None) -> int:
        """Try a dead letter again, or all of them; their number."""
        return self._change(job, state="waiting", tried_s=0.0, changed=time.time())

    def purge(self, job: str | None = None) -> int:
        """Give a dead letter up for good, or all of them; their number. Results stay in the archive."""
        return self._change(job, state="done", changed=time.time())

    def _change(self, job: str | None, **values: object) -> int:
        which = [JOBS.c.state == "dead"] if job is None else [JOBS.c.state == "dead", JOBS.c.id == job]
        with self._index.writing() as connection:
            changed = connection.execute(JOBS.update().where(*which).values(**values)).rowcount
            self._index.touch(connection)
        return int(changed)

    def quarantine(self) -> list[Quarantined]:
        """Objects that were set aside."""
        with self._index.reading() as connection:
            return [
                Quarantined.model_validate(row._asdict()) for row in connection.execute(sa.select(QUARANTINE))
            ]

    def close(self) -> None:
        """Close the connection."""
        self._index.close()


def open_index(settings: Settings, *, must_exist: bool = False) -> Index:
    """The index of the archive in `settings`.

    Raises:
        ConfigurationError: no archive is set, or its database cannot be used.
    """
    if settings.archive is None:
        raise ConfigurationError("no archive is set. Give its folder as CXRSERVE_ARCHIVE.")
    file = settings.archive.resolve() / "index.db"
    database_url = settings.database_url.get_secret_value()
    if must_exist and not database_url and not file.exists():
        raise ConfigurationError(f"there is no archive in {settings.archive}: {file.name} is missing.")
    return Index(sqlalchemy_url(database_url, file), timeout_s=settings.database_timeout_s)


def _job(row: Any) -> Job:
    problem = None if row.problem is None else json.loads(row.problem)
    return Job.model_validate({**row._asdict(), "files": json.loads(row.files), "problem": problem})
