"""Rows of one stored object: its own, and its study's."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import sqlalchemy as sa

from cxrserve.archive.jobs.queue import new_job
from cxrserve.archive.receipt import PRIOR
from cxrserve.archive.receiving.corrections import (
    correct_study,
    locked_study,
    patient_of_study,
    received_anew,
    was_corrected,
)
from cxrserve.archive.receiving.parse import ReceivedObject
from cxrserve.archive.rules import ConflictRule, Rule
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import key_of
from cxrserve.archive.storage.tables import JOBS, OBJECTS, STUDIES, StudyRow
from cxrserve.archive.storage.text_search import folded
from cxrserve.audit.event import AuditEvent
from cxrserve.reports.dicom.patient import Patient, with_patient

OTHER_PATIENT: Final = "other-patient"  # returned by `ObjectRecord.write` instead of a content hash


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRecord:
    """One object whose file is on disk.

    Attributes:
        rule: the one that takes it.
        quiet_s: how long its study must be quiet.
        conflicts: which side is right where its study is another patient's.
        corrections: the audit events of `write`; record them once it is committed.
    """

    incoming: ReceivedObject
    rule: Rule
    quiet_s: float
    conflicts: ConflictRule = "hold"
    corrections: list[AuditEvent] = field(default_factory=list)

    def write(self, database: Database, connection: sa.Connection) -> str:
        """Write its rows and return ""; or return the content hash that is there, or `OTHER_PATIENT`."""
        self.corrections.clear()
        before = connection.execute(
            sa.select(OBJECTS.c.content_sha256).where(
                OBJECTS.c.sop_instance_uid == self.incoming.sop_instance_uid
            )
        ).scalar()
        if before is not None:
            return str(before)
        now = database.now()
        self._ensure_study(database, connection, now)
        incoming = self._of_right_patient(database, connection)
        if incoming is None:
            return OTHER_PATIENT
        record = replace(self, incoming=incoming)
        record._add_object(connection, record._add_to_study(connection, now), now)
        record._ask_for_priors(database, connection)
        return ""

    def take_over(self, database: Database, connection: sa.Connection) -> bool:
        """Make the stored image with this UID, which was fetched as a prior, the work of `rule`.

        Its study's patient stays, who may have been corrected since. Its results are made again, since those
        of a prior are fewer.

        Returns:
            False where it is no prior.
        """
        incoming, key = self.incoming, key_of(self.incoming.study_instance_uid)
        study = locked_study(connection, key)
        if study is None:
            return False
        change = study.changes + 1
        taken = connection.execute(
            OBJECTS.update()
            .where(
                OBJECTS.c.sop_instance_uid == incoming.sop_instance_uid,
                OBJECTS.c.study_key == key,
                OBJECTS.c.protocol == PRIOR,
            )
            .values(
                **received_anew(database, incoming, change),
                rule=self.rule.name,
                replaces="",
            )
        ).rowcount
        if not taken:
            return False
        connection.execute(
            STUDIES.update()
            .where(STUDIES.c.key == key)
            .values(
                changes=change,
                corrections=STUDIES.c.corrections + 1,  # a change that is no new image
                open=1,
                prior=0,
                stat=max(study.stat, int(self.rule.priority == "stat")),
                quiet_s=max(study.quiet_s, self.quiet_s),
                changed=time.time(),
            )
        )
        self._ask_for_priors(database, connection)
        database.touch(connection)
        return True

    def _of_right_patient(self, database: Database, connection: sa.Connection) -> ReceivedObject | None:
        """The object under its study's patient, either of them corrected; None where it must be held."""
        incoming = self.incoming
        conflict = patient_conflict(connection, incoming)
        if conflict is None:
            return incoming
        study, other = conflict
        if other == "former" or self.conflicts == "archive":
            right = patient_of_study(connection, study)
            self.corrections.append(correction_event(incoming, incoming.patient, right))
            return incoming.under(right, with_patient(incoming.header, right))
        if self.conflicts == "newest":
            before = patient_of_study(connection, study)
            correct_study(database, connection, study, incoming.patient)
            self.corrections.append(correction_event(incoming, before, incoming.patient))
            return incoming
        return None

    def _ask_for_priors(self, database: Database, connection: sa.Connection) -> None:
        """Queue the search for the patient's earlier studies, once for each study."""
        if self.rule.priors is not None:
            key = key_of(self.incoming.study_instance_uid)
            job = new_job(id=f"{key}-priors", kind="priors", study_key=key, payload=self.rule.name)
            database.insert_new(connection, JOBS, **job)

    def _ensure_study(self, database: Database, connection: sa.Connection, now: float) -> None:
        incoming = self.incoming
        database.insert_new(
            connection,
            STUDIES,
            key=key_of(incoming.study_instance_uid),
            study_instance_uid=incoming.study_instance_uid,
            patient_name=incoming.patient.name,
            patient_id=incoming.patient.patient_id,
            patient_id_issuer=incoming.patient.issuer,
            study_date=incoming.study_date,
            description=incoming.description,
            modality=incoming.modality,
            accession_number=incoming.patient.accession_number,
            search=folded(
                incoming.patient.name,
                incoming.patient.patient_id,
                incoming.patient.accession_number,
                incoming.description,
            ),
            changes=0,
            planned=0,
            revision=0,
            state="none",
            stat=0,
            quiet_s=0.0,
            open=1,
            received=now,
            changed=now,
            corrected=0,
            corrections=0,
            former="[]",
            prior=int(incoming.source.protocol == PRIOR),
        )

    def _add_to_study(self, connection: sa.Connection, now: float) -> int:
        """Count the object and return its `arrival`; fill in what the study's first images left empty."""
        incoming, study = self.incoming, STUDIES.c
        stat = 1 if self.rule.priority == "stat" else 0
        search = sa.case(
            (study.patient_id == "", study.search + "\n" + folded(incoming.patient.patient_id)),
            else_=study.search,
        )
        return int(
            connection.execute(
                STUDIES.update()
                .where(study.key == key_of(incoming.study_instance_uid))
                .values(
                    changes=study.changes + 1,
                    open=1,
                    stat=sa.case((study.stat > stat, study.stat), else_=stat),
                    quiet_s=sa.case((study.quiet_s > self.quiet_s, study.quiet_s), else_=self.quiet_s),
                    patient_id=sa.case(
                        (study.patient_id == "", incoming.patient.patient_id), else_=study.patient_id
                    ),
                    patient_id_issuer=sa.case(
                        (study.patient_id_issuer == "", incoming.patient.issuer),
                        else_=study.patient_id_issuer,
                    ),
                    search=search if incoming.patient.patient_id else study.search,
                    prior=study.prior if incoming.source.protocol == PRIOR else 0,
                    changed=now,
                )
                .returning(study.changes)
            ).scalar_one()
        )

    def _add_object(self, connection: sa.Connection, arrival: int, now: float) -> None:
        incoming = self.incoming
        connection.execute(
            OBJECTS.insert().values(
                sop_instance_uid=incoming.sop_instance_uid,
                sop_class_uid=incoming.sop_class_uid,
                study_key=key_of(incoming.study_instance_uid),
                arrival=arrival,
                sha256=incoming.sha256,
                content_sha256=incoming.content_sha256,
                bytes=incoming.file.size,
                rule=self.rule.name,
                protocol=incoming.source.protocol,
                calling_ae=incoming.source.calling_ae,
                view=incoming.traits.view,
                header=incoming.header,
                rows=incoming.rows,
                columns=incoming.columns,
                tries=0,
                state="waiting",
                expired=0,
                received=now,
                results=incoming.sha256,
                replaces="",
                corrected=0,
            )
        )


def patient_conflict(
    connection: sa.Connection, incoming: ReceivedObject
) -> tuple[StudyRow, Literal["former", "other"]] | None:
    """Compare the patient of an object with that of its stored study; an empty ID or issuer matches any.

    A study has one report, under one patient: images of two patients must never meet in it.

    Returns:
        None where they are the same. Else the study, locked, with "former" where it was under this patient
        before a correction, "other" for any other patient.
    """
    study = locked_study(connection, key_of(incoming.study_instance_uid))
    if study is None:
        return None
    stored = Patient(patient_id=study.patient_id, issuer=study.patient_id_issuer)
    if not incoming.patient.differs_from(stored):
        return None
    return study, "former" if was_corrected(study, incoming.patient) else "other"


def correction_event(
    incoming: ReceivedObject, before: Patient, after: Patient, *, user: str = "", detail: str = "patient"
) -> AuditEvent:
    """The audit event of a correction: the patient before, then the patient after."""
    return AuditEvent(
        action="correct",
        detail=detail,
        user=user or incoming.source.calling_ae,
        address=incoming.source.address,
        studies=(incoming.study_instance_uid,),
        images=(incoming.sop_instance_uid,),
        patients=tuple(filter(None, dict.fromkeys((before.patient_id, after.patient_id)))),
        accessions=tuple(filter(None, dict.fromkeys((before.accession_number, after.accession_number)))),
    )
