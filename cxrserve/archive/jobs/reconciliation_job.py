"""Reconciliation job: asks the PACS whose a study is, corrects it, and takes in what was held for it."""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.destination import DeliveryError, PatientDirectory
from cxrserve.archive.jobs.queue import new_job
from cxrserve.archive.receiving.corrections import correct_study, locked_study, patient_of_study
from cxrserve.archive.receiving.intake import Intake
from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.tables import JOBS, JobRow
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record


class ReconciliationJob:
    """Does reconciliation jobs. Thread-safe, and safe beside other nodes."""

    def __init__(self, database: Database, intake: Intake, directory: PatientDirectory) -> None:
        self._database: Final = database
        self._intake: Final = intake
        self._directory: Final = directory

    def run(self, job: JobRow) -> None:
        """Do one.

        Raises:
            DeliveryError: the PACS does not answer, or does not know the study yet.
        """
        with self._database.reading() as connection:
            study = locked_study(connection, str(job.study_key))
        if study is None:
            return
        patient = self._directory(study.study_instance_uid)
        if patient is None or not patient.patient_id:
            raise DeliveryError(
                "the PACS does not know this study, or names no patient for it. Images of another patient "
                "stay in quarantine. Release or move them with `cxrserve pacs queue`.",
                retryable=True,
            )
        with self._database.writing() as connection:
            study = locked_study(connection, study.key)
            if study is None:
                return
            before = patient_of_study(connection, study)
            differs = before.identity[:3] != patient.identity[:3]
            if differs:
                correct_study(self._database, connection, study, patient)
        if differs:
            record(
                AuditEvent(
                    action="correct",
                    detail="pacs",
                    studies=(study.study_instance_uid,),
                    patients=tuple(filter(None, dict.fromkeys((before.patient_id, patient.patient_id)))),
                )
            )
        self._intake.release_agreeing(study.key, "archive")


def request_reconciliation(database: Database, study_key: str) -> None:
    """Queue a reconciliation of a study, or have the one that is queued begin soon.

    Raises:
        OutOfResources: the database does not answer.
    """
    job = new_job(id=f"{study_key}-patient", kind="reconciliation", study_key=study_key)
    with answering(), database.writing() as connection:
        if not database.insert_new(connection, JOBS, **job):
            again = {"state": "waiting", "tried_s": 0.0, "due": time.time(), "changed": time.time()}
            connection.execute(
                sa.update(JOBS).where(JOBS.c.id == job["id"], JOBS.c.claimed_by == "").values(**again)
            )
        database.touch(connection)
