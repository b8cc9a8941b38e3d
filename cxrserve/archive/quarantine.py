"""Quarantined objects of a running node: listed with both patients, and decided on by a person."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import BinaryIO, Final, Literal

import sqlalchemy as sa
from pydantic import Field

from cxrserve.archive.receipt import Reason
from cxrserve.archive.receiving.corrections import patient_of_study
from cxrserve.archive.receiving.decisions import Decider, Decisions, held_patient
from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.files import Store
from cxrserve.archive.storage.tables import OBJECTS, QUARANTINE, STUDIES, StudyRow
from cxrserve.reports.dicom.patient import Patient
from cxrserve.schema import Frozen
from cxrserve.settings import Settings

Decision = Literal["release", "move", "drop"]


class QuarantinedObject(Frozen):
    """One quarantined object: what it says of its patient and order, and what its stored study says."""

    sha256: str
    sop_instance_uid: str
    study_instance_uid: str = Field(description="Of the stored study; empty where there is none.")
    reason: Reason
    received: float = Field(description="Time, in seconds since 1970.")
    calling_ae: str
    patient_id: str = Field(description="Patient ID in the object; empty where it cannot be read.")
    patient_name: str
    patient_id_issuer: str
    birth_date: str = Field(description="YYYYMMDD, or empty.")
    sex: str
    accession_number: str
    study_patient_id: str = Field(description="Patient ID of the stored study.")
    study_patient_name: str
    study_patient_id_issuer: str
    study_birth_date: str
    study_sex: str
    study_accession_number: str
    decisions: list[Decision] = Field(description="The decisions that are possible.")


_ROWS: Final = (
    sa.select(
        QUARANTINE.c.sha256,
        QUARANTINE.c.sop_instance_uid,
        QUARANTINE.c.reason,
        QUARANTINE.c.received,
        QUARANTINE.c.calling_ae,
        QUARANTINE.c.study_key,
        sa.func.coalesce(STUDIES.c.study_instance_uid, "").label("study_instance_uid"),
        OBJECTS.c.sop_instance_uid.is_not(None).label("is_copy"),  # of an image that is stored
    )
    .outerjoin(STUDIES, STUDIES.c.key == QUARANTINE.c.study_key)
    .outerjoin(OBJECTS, OBJECTS.c.sop_instance_uid == QUARANTINE.c.sop_instance_uid)
)


class Quarantine:
    """The quarantine of one archive. Thread-safe.

    Args:
        decided: called after each decision: there may be work.
    """

    def __init__(
        self, settings: Settings, store: Store, database: Database, decided: Callable[[], None]
    ) -> None:
        self._settings: Final = settings
        self._store: Final = store
        self._database: Final = database
        self._decided: Final = decided
        self._lock: Final = threading.Lock()  # one decision at a time: they share a folder

    def count(self) -> int:
        """The number of objects."""
        with answering(), self._database.reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(QUARANTINE)).scalar_one())

    def objects(self) -> list[QuarantinedObject]:
        """All of them, the oldest first."""
        query = _ROWS.order_by(QUARANTINE.c.received, QUARANTINE.c.sha256)
        with answering(), self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
            keys = {str(row["study_key"]) for row in rows if row["study_instance_uid"]}
            patients = {key: _patient_of(connection, key) for key in keys}
        return [self._object(dict(row), patients.get(str(row["study_key"]), Patient())) for row in rows]

    def open(self, digest: str) -> tuple[QuarantinedObject, BinaryIO] | None:
        """One object and its open file, byte for byte as it came; None where there is none.

        The caller closes the file.
        """
        query = _ROWS.where(QUARANTINE.c.sha256 == digest)
        with answering(), self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            known = bool(row["study_instance_uid"])
            patient = _patient_of(connection, str(row["study_key"])) if known else Patient()
        try:
            file = self._store.quarantine_path(digest).open("rb")
        except FileNotFoundError:  # it was decided on at this moment
            return None
        return self._object(dict(row), patient), file

    def _object(self, row: dict[str, object], stored: Patient) -> QuarantinedObject:
        held = held_patient(self._store, str(row["sha256"]))
        is_copy = bool(row.pop("is_copy"))
        row.pop("study_key")
        can_move = row["reason"] == "other-patient" and not is_copy
        return QuarantinedObject.model_validate(
            {
                **row,
                **_says(held, ""),
                **_says(stored, "study_"),
                "decisions": ["release", "move", "drop"] if can_move else ["release", "drop"],
            }
        )

    def decide(self, digest: str, decision: Decision, by: Decider) -> None:
        """Release, move or drop one object, as `cxrserve pacs queue` does.

        Raises:
            RequestError: there is no such object, or the decision is not possible for it.
        """
        with self._lock, answering(), Decisions(self._settings, by) as decisions:
            {"release": decisions.release, "move": decisions.move, "drop": decisions.drop}[decision](digest)
        self._decided()


def _patient_of(connection: sa.Connection, study_key: str) -> Patient:
    row = connection.execute(sa.select(STUDIES).where(STUDIES.c.key == study_key)).one()
    return patient_of_study(connection, StudyRow._make(row))


def _says(patient: Patient, prefix: str) -> dict[str, str]:
    """The fields of one side."""
    return {
        f"{prefix}patient_id": patient.patient_id,
        f"{prefix}patient_name": patient.name,
        f"{prefix}patient_id_issuer": patient.issuer,
        f"{prefix}birth_date": patient.birth_date,
        f"{prefix}sex": patient.sex,
        f"{prefix}accession_number": patient.accession_number,
    }
