"""What Prometheus may ask of the archive: work that waits, dead letters, what was set aside, room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cxrserve.archive.index import JOBS, QUARANTINE, Index, answering
from cxrserve.archive.store import Store
from cxrserve.errors import OutOfResources

_KINDS: Final = ("study", "delivery")
_STATES: Final = ("waiting", "dead")


class Gauges(Collector):
    """Of one archive. A database that does not answer is a gauge as well: the others are then left out."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store: Final = store
        self._index: Final = index

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' client asks for it."""
        answers = GaugeMetricFamily(
            "cxrserve_archive_database_up", "1 where the archive's database answers, else 0."
        )
        free = GaugeMetricFamily(
            "cxrserve_archive_free_bytes", "What may still be written to the archive's disk."
        )
        try:
            yield from self._work()
            answers.add_metric((), 1)
        except OutOfResources:
            answers.add_metric((), 0)
        yield answers
        with suppress(OutOfResources):  # a disk that does not say: a gauge without a value
            free.add_metric((), self._store.free_bytes())
        yield free

    def _work(self) -> list[Metric]:
        jobs = GaugeMetricFamily(
            "cxrserve_archive_jobs",
            "Jobs that are not done, by kind (study, delivery) and state (waiting, dead).",
            labels=("kind", "state"),
        )
        oldest = GaugeMetricFamily(
            "cxrserve_archive_oldest_job_seconds", "Age of the oldest job that waits.", labels=("kind",)
        )
        quarantined = GaugeMetricFamily(
            "cxrserve_archive_quarantined", "Objects that were set aside, and are not worked on."
        )
        with answering(), self._index.reading() as connection:
            found = {
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
            aside = connection.execute(sa.select(sa.func.count()).select_from(QUARANTINE)).scalar_one()
        for kind in _KINDS:
            for state in _STATES:
                row = found.get((kind, state))
                jobs.add_metric((kind, state), 0 if row is None else row.number)
            waiting = found.get((kind, "waiting"))
            oldest.add_metric((kind,), 0 if waiting is None else max(0.0, time.time() - waiting.since))
        quarantined.add_metric((), aside)
        return [jobs, oldest, quarantined]
