"""What the index says of one object that is kept: its own row, and its study's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.index import OBJECTS, STUDIES, Index
from cxrserve.archive.parsed import Parsed
from cxrserve.archive.rules import Rule
from cxrserve.archive.search import folded
from cxrserve.archive.store import key_of

OTHER_PATIENT: Final = "other-patient"  # what `Entry.write` says in the place of a content hash


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One object whose file is on disk.

    Attributes:
        rule: the one that takes it; `quiet_s` is how long a study of it must be quiet.
    """

    incoming: Parsed
    rule: Rule
    quiet_s: float

    def write(self, index: Index, connection: sa.Connection) -> str:
        """Write its rows: "". Or not: the content hash that is there already, or `OTHER_PATIENT`."""
        before = connection.execute(
            sa.select(OBJECTS.c.content_sha256).where(
                OBJECTS.c.sop_instance_uid == self.incoming.sop_instance_uid
            )
        ).scalar()
        if before is not None:
            return str(before)
        now = time.time()
        self._ensure_study(index, connection, now)
        if is_of_another_patient(connection, self.incoming):
            return OTHER_PATIENT
        self._add_object(connection, self._add_to_study(connection, now), now)
        return ""

    def _ensure_study(self, index: Index, connection: sa.Connection, now: float) -> None:
        incoming = self.incoming
        index.insert_new(
            connection,
            STUDIES,
            key=key_of(incoming.study_instance_uid),
            study_instance_uid=incoming.study_instance_uid,
            patient_name=incoming.patient_name,
            patient_id=incoming.patient_id,
            patient_id_issuer=incoming.patient_id_issuer,
            study_date=incoming.study_date,
            description=incoming.description,
            modality=incoming.modality,
            accession_number=incoming.accession_number,
            search=folded(
                incoming.patient_name, incoming.patient_id, incoming.accession_number, incoming.description
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
        )

    def _add_to_study(self, connection: sa.Connection, now: float) -> int:
        """Count the object; its `arrival`. What the study's first images did not say is filled in."""
        incoming, study = self.incoming, STUDIES.c
        stat = 1 if self.rule.priority == "stat" else 0
        search = sa.case(
            (study.patient_id == "", study.search + "\n" + folded(incoming.patient_id)), else_=study.search
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
                    patient_id=sa.case((study.patient_id == "", incoming.patient_id), else_=study.patient_id),
                    patient_id_issuer=sa.case(
                        (study.patient_id_issuer == "", incoming.patient_id_issuer),
                        else_=study.patient_id_issuer,
                    ),
                    search=search if incoming.patient_id else study.search,
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
            )
        )


def is_of_another_patient(connection: sa.Connection, incoming: Parsed) -> bool:
    """True where the study is kept with another Patient ID or issuer; what one side does not say differs not.

    One report is made of a study, under one patient: two patients' images must never meet in it.
    """
    held = connection.execute(
        sa.select(STUDIES.c.patient_id, STUDIES.c.patient_id_issuer)
        .where(STUDIES.c.key == key_of(incoming.study_instance_uid))
        .with_for_update()  # PostgreSQL: another node may be filling them in
    ).one_or_none()
    if held is None:
        return False
    pairs = zip(held, (incoming.patient_id, incoming.patient_id_issuer), strict=True)
    return any(kept and come and kept != come for kept, come in pairs)
