"""Outcome of studies for whoever asked for them: whether their results were made and delivered, and which."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.tables import (
    DELIVERED,
    JOBS,
    OBJECTS,
    STUDIES,
    JobRow,
    ObjectRow,
    StudyRow,
)
from cxrserve.archive.workitems import Output
from cxrserve.reports.dicom.objects import Reference
from cxrserve.reports.dicom.report_class import REPORT_CLASSES

_ENDED: Final = ("done", "failed", "refused")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOutcome:
    """Outcome of some images and their studies, of which nothing waits any more.

    Attributes:
        analysed: True where at least one of the images was.
        failed: True where the station is at fault: a damaged image, results that could not be made.
        problems: titles of the reasons why images were not analysed, each once.
        undelivered: names of the destinations that did not get all results.
        unrecorded: True where DICOM objects were delivered by an earlier version, which kept no UIDs of them.
        outputs: the results as the destinations took them; of reports only the newest of each destination.
    """

    analysed: bool
    failed: bool
    problems: tuple[str, ...]
    undelivered: tuple[str, ...]
    unrecorded: bool
    outputs: tuple[Output, ...]


def outcome_of(database: Database, images: Collection[str]) -> StudyOutcome | None:
    """The outcome of `images`, by SOP Instance UID; None while any of them, or a result, waits."""
    with database.reading() as connection:
        objects = [
            ObjectRow._make(row)
            for row in connection.execute(sa.select(OBJECTS).where(OBJECTS.c.sop_instance_uid.in_(images)))
        ]
        studies = {
            row.key: StudyRow._make(row)
            for row in connection.execute(
                sa.select(STUDIES).where(STUDIES.c.key.in_({each.study_key for each in objects}))
            )
        }
        if any(study.open or study.state not in _ENDED for study in studies.values()):
            return None
        jobs = _deliveries(connection, studies.values())
        if any(job.state == "waiting" for job in jobs):
            return None
        objects_of = _delivered_objects(connection, jobs)
    failed = any(study.state == "failed" for study in studies.values())
    problems = [json.loads(each.problem)["title"] for each in objects if each.problem is not None]
    return StudyOutcome(
        analysed=any(each.state == "done" for each in objects),
        failed=failed or any(each.state in ("failed", "waiting") for each in objects),
        problems=tuple(dict.fromkeys(problems)),
        undelivered=tuple(dict.fromkeys(job.destination for job in jobs if not _is_delivered(job))),
        unrecorded=any(
            _is_delivered(job) and ".dcm" in job.payload and not objects_of[job.id] for job in jobs
        ),
        outputs=tuple(_outputs(jobs, objects_of, studies)),
    )


def _deliveries(connection: sa.Connection, studies: Collection[StudyRow]) -> list[JobRow]:
    """The deliveries of studies, in the order of revisions; those from before a correction do not count."""
    query = (
        sa.select(JOBS)
        .where(JOBS.c.study_key.in_([study.key for study in studies]), JOBS.c.kind == "delivery")
        .order_by(JOBS.c.study_key, JOBS.c.revision, JOBS.c.destination)
    )
    corrected = {study.key: study.corrected for study in studies}
    rows = [JobRow._make(row) for row in connection.execute(query)]
    return [job for job in rows if job.covers >= corrected[str(job.study_key)]]


def _is_delivered(job: JobRow) -> bool:
    """True where the destination took it: a job that a person gave up is done too."""
    return job.state == "done" and job.problem is None and job.attempts > 0


def _delivered_objects(connection: sa.Connection, jobs: Sequence[JobRow]) -> dict[str, list[Reference]]:
    """The objects that each delivery has brought to its destination, by the id of its job."""
    objects: dict[str, list[Reference]] = {job.id: [] for job in jobs}
    query = sa.select(DELIVERED).where(DELIVERED.c.job.in_(objects)).order_by(DELIVERED.c.sop_instance_uid)
    for row in connection.execute(query):
        reference = Reference(
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            series_instance_uid=row.series_instance_uid,
        )
        objects[row.job].append(reference)
    return objects


def _outputs(
    jobs: Sequence[JobRow], objects_of: Mapping[str, list[Reference]], studies: Mapping[str, StudyRow]
) -> list[Output]:
    """The objects that destinations took, in the order of `jobs`."""
    outputs: dict[tuple[str, ...], Output] = {}
    for job in jobs:
        study = studies[str(job.study_key)].study_instance_uid
        for reference in objects_of[job.id]:
            is_report = reference.sop_class_uid in REPORT_CLASSES.values()
            name = ("report", study) if is_report else ("object", reference.sop_instance_uid)
            # A later report takes the place of an earlier one.
            outputs[job.destination, *name] = Output(
                study_instance_uid=study, object=reference, destination=job.destination
            )
    return list(outputs.values())
