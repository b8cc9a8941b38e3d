"""Corrections of a study's patient and order, in the tables.

A correction counts as a change of the study, like a new image: once the study is quiet, its next revision
makes the results of every image again under the right patient, with a report that names its predecessor, and
sends them where the earlier ones went. Deliveries that still wait under the earlier patient are given up.
"""

from __future__ import annotations

import json
import time
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.receiving.parse import ReceivedObject
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import key_of
from cxrserve.archive.storage.tables import JOBS, OBJECTS, STUDIES, StudyRow
from cxrserve.archive.storage.text_search import folded
from cxrserve.reports.dicom.patient import Patient, patient_of, with_patient

SUPERSEDED: Final = {
    "slug": "superseded",
    "title": "The results were corrected",
    "detail": "the patient or the order of this study was corrected before they were sent; the corrected "
    "results are sent instead.",
    "final": True,
}


def locked_study(connection: sa.Connection, study_key: str) -> StudyRow | None:
    """The row of a study, locked until the transaction ends; None where there is none."""
    query = sa.select(STUDIES).where(STUDIES.c.key == study_key).with_for_update()
    row = connection.execute(query).one_or_none()
    return None if row is None else StudyRow._make(row)


def patient_of_study(connection: sa.Connection, study: StudyRow) -> Patient:
    """The patient of a study, as one of its images names them."""
    headers = connection.execute(
        sa.select(OBJECTS.c.header).where(OBJECTS.c.study_key == study.key).order_by(OBJECTS.c.arrival)
    ).scalars()
    patients = [patient_of(bytes(header)) for header in headers]
    fitting = [patient for patient in patients if patient.patient_id == study.patient_id]
    if fitting or patients:
        return (fitting or patients)[0]
    return Patient(
        patient_id=study.patient_id,
        issuer=study.patient_id_issuer,
        name=study.patient_name,
        accession_number=study.accession_number,
    )


def was_corrected(study: StudyRow, patient: Patient) -> bool:
    """True where the study was corrected away from this patient, by ID and issuer."""
    return any(tuple(former[:2]) == patient.identity[:2] for former in json.loads(study.former))


def is_former(study: StudyRow, patient: Patient) -> bool:
    """True where the study was corrected away from this patient, or from this name or order of theirs."""
    current = Patient(patient_id=study.patient_id, issuer=study.patient_id_issuer)
    if patient.differs_from(current) and was_corrected(study, patient):
        return True
    return any(tuple(former) == patient.identity for former in json.loads(study.former))


def correct_study(database: Database, connection: sa.Connection, study: StudyRow, patient: Patient) -> None:
    """Move `study`, which is locked, to `patient`, with all its images."""
    change = study.changes + 1
    earlier: list[Patient] = [
        Patient(
            patient_id=study.patient_id,
            issuer=study.patient_id_issuer,
            name=study.patient_name,
            accession_number=study.accession_number,
        )
    ]
    images = connection.execute(
        sa.select(
            OBJECTS.c.sop_instance_uid,
            OBJECTS.c.sha256,
            OBJECTS.c.header,
            OBJECTS.c.state,
            OBJECTS.c.results,
            OBJECTS.c.replaces,
        ).where(OBJECTS.c.study_key == study.key)
    ).all()
    for image in images:
        before = patient_of(bytes(image.header))
        values: dict[str, object] = {"corrected": change}
        header = with_patient(bytes(image.header), patient)
        if patient_of(header) != before:
            earlier.append(before)
            values["header"] = header
            if image.state in ("waiting", "done"):  # an image that was refused stays refused
                values |= {
                    "state": "waiting",
                    "results": f"{image.sha256}-{change}",
                    "replaces": image.results if image.state == "done" else image.replaces,
                }
        connection.execute(
            OBJECTS.update().where(OBJECTS.c.sop_instance_uid == image.sop_instance_uid).values(**values)
        )
    _update_study(connection, study, patient, change, earlier)
    give_up_deliveries(connection, study.key)
    database.touch(connection)


def _update_study(
    connection: sa.Connection, study: StudyRow, patient: Patient, change: int, earlier: list[Patient]
) -> None:
    accession = patient.accession_number or study.accession_number
    names = [*map(tuple, json.loads(study.former)), *(before.identity for before in earlier)]
    former = [list(name) for name in dict.fromkeys(names) if name != patient.identity]
    connection.execute(
        STUDIES.update()
        .where(STUDIES.c.key == study.key)
        .values(
            patient_name=patient.name,
            patient_id=patient.patient_id,
            patient_id_issuer=patient.issuer,
            accession_number=accession,
            search=folded(patient.name, patient.patient_id, accession, study.description),
            changes=change,
            corrected=change,
            corrections=STUDIES.c.corrections + 1,
            former=json.dumps(former),
            open=1,
            changed=time.time(),
        )
    )


def give_up_deliveries(connection: sa.Connection, study_key: str) -> None:
    """Give up the deliveries of a study that still wait: they name the patient before."""
    connection.execute(
        JOBS.update()
        .where(
            JOBS.c.study_key == study_key,
            JOBS.c.kind == "delivery",
            JOBS.c.state != "done",
            JOBS.c.claimed_by == "",
        )
        .values(state="done", problem=json.dumps(SUPERSEDED), changed=time.time())
    )


def replace_image(
    database: Database, connection: sa.Connection, study: StudyRow, incoming: ReceivedObject, *, same: bool
) -> None:
    """Put `incoming`, whose file is committed, in the place of the stored image with its UID.

    Args:
        study: of that image, locked.
        same: True where the pixels are those of the stored image, so that its results hold.
    """
    before = connection.execute(
        sa.select(OBJECTS.c.results, OBJECTS.c.state, OBJECTS.c.replaces, OBJECTS.c.header).where(
            OBJECTS.c.sop_instance_uid == incoming.sop_instance_uid
        )
    ).one()
    change = study.changes + 1
    replaces = (before.results if before.state == "done" else before.replaces) if same else ""
    connection.execute(
        OBJECTS.update()
        .where(OBJECTS.c.sop_instance_uid == incoming.sop_instance_uid)
        .values(
            **received_anew(database, incoming, change),
            header=incoming.header,
            rows=incoming.rows,
            columns=incoming.columns,
            view=incoming.traits.view,
            replaces=replaces,
        )
    )
    moved = study._replace(former=_with_former(study, patient_of(bytes(before.header))))
    correct_study(database, connection, moved, patient_of(incoming.header))


def received_anew(database: Database, incoming: ReceivedObject, change: int) -> dict[str, object]:
    """Columns of a stored image that is worked on again, as `incoming` and as its study's change `change`."""
    return {
        "sha256": incoming.sha256,
        "content_sha256": incoming.content_sha256,
        "bytes": incoming.file.size,
        "protocol": incoming.source.protocol,
        "calling_ae": incoming.source.calling_ae,
        "state": "waiting",
        "problem": None,
        "tries": 0,
        "expired": 0,
        "results": f"{incoming.sha256}-{change}",
        "corrected": change,
        "received": database.now(),
    }


def _with_former(study: StudyRow, patient: Patient) -> str:
    return json.dumps([*json.loads(study.former), list(patient.identity)])


def study_key_of_object(connection: sa.Connection, sop_instance_uid: str) -> str:
    """The key of the study that holds this object; "" where none does."""
    key = connection.execute(
        sa.select(OBJECTS.c.study_key).where(OBJECTS.c.sop_instance_uid == sop_instance_uid)
    ).scalar()
    return str(key or "")


def is_in_its_study(connection: sa.Connection, incoming: ReceivedObject) -> bool:
    """True where the stored object with this UID is of the study that `incoming` names."""
    return study_key_of_object(connection, incoming.sop_instance_uid) == key_of(incoming.study_instance_uid)
