"""Archive metrics for Prometheus: waiting jobs, dead letters, quarantined objects, free space."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, get_args

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.files import Store
from cxrserve.archive.storage.tables import JOBS, QUARANTINE, JobKind, JobState
from cxrserve.errors import OutOfResources

_STATES: Final[tuple[JobState, ...]] = ("waiting", "dead")


class ArchiveMetrics(Collector):
    """Gauges of one archive. If the database is away, `database_up` is 0 and its gauges are missing."""

    def __init__(self, store: Store, database: Database) -> None:
        self._store: Final = store
        self._database: Final = database

    def collect(self) -> Iterator[Metric]:
        """Collect the gauges, as Prometheus' client calls it."""
        answers = GaugeMetricFamily(
            "cxrserve_archive_database_up", "1 where the archive's database answers, else 0."
        )
        free = GaugeMetricFamily("cxrserve_archive_free_bytes", "Free bytes of the archive's disk.")
        try:
            yield from self._work()
            answers.add_metric((), 1)
        except OutOfResources:
            answers.add_metric((), 0)
        yield answers
        with suppress(OutOfResources):  # the disk does not answer: a gauge without a value
            free.add_metric((), self._store.free_bytes())
        yield free

    def _work(self) -> list[Metric]:
        jobs = GaugeMetricFamily(
            "cxrserve_archive_jobs",
            "Jobs that are not done, by kind (study, delivery, commitment, workitem and others) and state "
            "(waiting, dead).",
            labels=("kind", "state"),
        )
        oldest = GaugeMetricFamily(
            "cxrserve_archive_oldest_job_seconds", "Age of the oldest waiting job.", labels=("kind",)
        )
        quarantined = GaugeMetricFamily(
            "cxrserve_archive_quarantined", "Objects in quarantine, which are not worked on."
        )
        with answering(), self._database.reading() as connection:
            groups = {
                (row.kind, row.state): row
                for row in connection.execute(
                    sa.select(
                        JOBS.c.kind,
                        JOBS.c.state,
                        sa.func.count().label("number"),
                        sa.func.min(JOBS.c.created).label("since"),
                    )
                    .where(JOBS.c.state.in_(_STATES))
                    .group_by(JOBS.c.kind, JOBS.c.state)
                )
            }
            quarantine = connection.execute(sa.select(sa.func.count()).select_from(QUARANTINE)).scalar_one()
        for kind in get_args(JobKind):
            for state in _STATES:
                row = groups.get((kind, state))
                jobs.add_metric((kind, state), 0 if row is None else row.number)
            waiting = groups.get((kind, "waiting"))
            oldest.add_metric((kind,), 0 if waiting is None else max(0.0, time.time() - waiting.since))
        quarantined.add_metric((), quarantine)
        return [jobs, oldest, quarantined]
