"""Prior job: fetches a patient's earlier studies for the reader, where the rule of an image asks for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.destination import IsStored, PriorSource, PriorsWanted
from cxrserve.archive.receipt import PRIOR, Receipt, Source
from cxrserve.archive.receiving.expected_priors import expect, has_arrived, rule_of
from cxrserve.archive.rules import CurrentRules
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.tables import JOBS, STUDIES, JobRow, StudyRow
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record

_log: Final = logging.getLogger("cxrserve.archive")


class PriorJob:
    """Does prior jobs. Thread-safe, and safe beside other nodes.

    Args:
        receive: takes in a file.
        source: searches the servers of the rules.
        is_stored: says of a SOP Instance UID and a SOP Class UID whether that object is stored and sound.
    """

    def __init__(
        self,
        database: Database,
        rules: CurrentRules,
        receive: Callable[[bytes, Source], Receipt],
        source: PriorSource,
        is_stored: IsStored,
    ) -> None:
        self._database: Final = database
        self._rules: Final = rules
        self._receive: Final = receive
        self._source: Final = source
        self._is_stored: Final = is_stored

    def run(self, job: JobRow) -> None:
        """Do one. Nothing is done for a study without a Patient ID: the search could find anybody's.

        Raises:
            DeliveryError: the server does not answer, or did not give all images; what it gave is stored.
        """
        name = rule_of(job.payload)
        rule = self._rules.by_name.get(name)
        with self._database.reading() as connection:
            row = connection.execute(sa.select(STUDIES).where(STUDIES.c.key == job.study_key)).first()
        if rule is None or rule.priors is None or row is None:
            return
        study = StudyRow._make(row)
        if not study.patient_id:
            _log.info("job=%s fetches no priors: the study names no patient", job.id)
            return
        wanted = PriorsWanted(
            server=rule.priors.server,
            studies=rule.priors.studies,
            patient_id=study.patient_id,
            issuer=study.patient_id_issuer,
            study_instance_uid=study.study_instance_uid,
            study_date=study.study_date,
        )

        def keep(part10: bytes) -> bool:
            source = Source(protocol=PRIOR, prior_of=name)
            return self._receive(part10, source).outcome in ("kept", "duplicate")

        fetched: list[str] = []
        try:
            self._source(wanted, self._is_stored, keep, _Arrivals(self._database, job), fetched)
        finally:
            if fetched:
                record(AuditEvent(action="pull", detail="priors", user=wanted.server, studies=tuple(fetched)))
        _log.info("job=%s server=%s priors=%d", job.id, wanted.server, len(fetched))


class _Arrivals:
    """As `Arrivals`, in the row of the job; not once another node has taken it over."""

    def __init__(self, database: Database, job: JobRow) -> None:
        self._database: Final = database
        self._which: Final = sa.and_(JOBS.c.id == job.id, JOBS.c.claims == job.claims)

    def expect(self, sop_instance_uids: Sequence[str]) -> None:
        with self._database.writing() as connection:
            expect(connection, self._which, sop_instance_uids)

    def has_come(self, sop_instance_uid: str) -> bool:
        with self._database.reading() as connection:
            return has_arrived(connection, self._which, sop_instance_uid)
