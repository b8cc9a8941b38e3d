"""Offers of scheduled workitems: those that this station tries to claim get a durable job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from pydicom.uid import generate_uid

from cxrserve.archive.jobs.queue import new_job
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import key_of
from cxrserve.archive.storage.tables import JOBS
from cxrserve.archive.workitems import Task, WorkitemOutcome


class WorkitemOffers:
    """Takes offers from whoever searches a worklist. Thread-safe, and safe beside other nodes.

    Args:
        added: called after a job was added.
        count: counts outcomes, by the name of the worklist.
    """

    def __init__(
        self,
        database: Database,
        added: Callable[[], None],
        count: Callable[[str, WorkitemOutcome], None],
    ) -> None:
        self._database: Final = database
        self._added: Final = added
        self.count: Final = count

    def open_workitems(self, worklist: str) -> int:
        """The number of workitems of this worklist that the station works on, or tries to claim."""
        query = (
            sa.select(sa.func.count())
            .select_from(JOBS)
            .where(JOBS.c.kind == "workitem", JOBS.c.destination == worklist, JOBS.c.state == "waiting")
        )
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def offer(self, worklist: str, workitem_uid: str) -> bool:
        """Add a job for a scheduled workitem; False where it has had one: none is claimed twice.

        The Transaction UID of its claim is on disk when this returns. It is a UID made from a random UUID.
        """
        task = Task(workitem_uid=workitem_uid, transaction_uid=generate_uid(prefix=None))
        job = new_job(id=f"{key_of(workitem_uid)}-workitem", kind="workitem", destination=worklist)
        with self._database.writing() as connection:
            is_new = self._database.insert_new(connection, JOBS, **{**job, "payload": task.model_dump_json()})
            if is_new:
                self._database.touch(connection)
        if is_new:
            self._added()
        return is_new
