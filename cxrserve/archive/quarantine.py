"""Quarantined objects of a running node: listed with both patients, and decided on by a person."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Literal

import sqlalchemy as sa
from pydantic import Field

from cxrserve.archive.receipt import Reason
from cxrserve.archive.receiving.decisions import Decider, Decisions, held_patient
from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.files import Store
from cxrserve.archive.storage.tables import QUARANTINE, STUDIES
from cxrserve.schema import Frozen
from cxrserve.settings import Settings

Decision = Literal["release", "move", "drop"]


class QuarantinedObject(Frozen):
    """One quarantined object."""

    sha256: str
    sop_instance_uid: str
    study_instance_uid: str = Field(description="Of the stored study; empty where there is none.")
    reason: Reason
    received: float = Field(description="Time, in seconds since 1970.")
    calling_ae: str
    patient_id: str = Field(description="Patient ID in the object; empty where it cannot be read.")
    patient_name: str
    study_patient_id: str = Field(description="Patient ID of the stored study.")
    study_patient_name: str
    decisions: list[Decision] = Field(description="The decisions that are possible.")


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

    def objects(self) -> list[QuarantinedObject]:
        """All of them, the oldest first."""
        query = (
            sa.select(
                QUARANTINE.c.sha256,
                QUARANTINE.c.sop_instance_uid,
                QUARANTINE.c.reason,
                QUARANTINE.c.received,
                QUARANTINE.c.calling_ae,
                sa.func.coalesce(STUDIES.c.study_instance_uid, "").label("study_instance_uid"),
                sa.func.coalesce(STUDIES.c.patient_id, "").label("study_patient_id"),
                sa.func.coalesce(STUDIES.c.patient_name, "").label("study_patient_name"),
            )
            .outerjoin(STUDIES, STUDIES.c.key == QUARANTINE.c.study_key)
            .order_by(QUARANTINE.c.received, QUARANTINE.c.sha256)
        )
        with answering(), self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [self._object(dict(row)) for row in rows]

    def _object(self, row: dict[str, object]) -> QuarantinedObject:
        patient = held_patient(self._store, str(row["sha256"]))
        decisions = ["release", "move", "drop"] if row["reason"] == "other-patient" else ["release", "drop"]
        return QuarantinedObject.model_validate(
            {
                **row,
                "patient_id": patient.patient_id,
                "patient_name": patient.name,
                "decisions": decisions,
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
