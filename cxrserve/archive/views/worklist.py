"""Worklist: studies, their images and results, read-only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, Literal

import sqlalchemy as sa
from pydantic import Field

from cxrserve.archive.jobs.report_inputs import as_time, read_inputs
from cxrserve.archive.rules import Priority
from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.files import ObjectExpired, Store, revision_key
from cxrserve.archive.storage.tables import OBJECTS, STUDIES, ImageState, ObjectRow, StudyRow
from cxrserve.archive.storage.text_search import pattern
from cxrserve.bundle.contract import Bundle
from cxrserve.schema import Frozen

StudyState = Literal["receiving", "waiting", "working", "done", "failed", "refused"]


class _Study(Frozen):
    """Fields of a study in every view."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    study_date: str = Field(description="YYYYMMDD, or empty.")
    description: str
    modality: str
    accession_number: str
    state: StudyState = Field(
        description="receiving: images may still come; waiting: a job is queued; working: the job runs; "
        "done; refused: no image could be analysed; failed: an image is damaged, or its results "
        "cannot be made."
    )
    priority: Priority
    received: float = Field(description="When the first image arrived, in seconds since 1970.")
    changed: float = Field(description="When the last image arrived, in seconds since 1970.")
    prior: bool = Field(
        description="True where all its images were fetched because the rule of another study of the patient "
        "asks for priors: no new work."
    )
    positive: list[str] | None = Field(
        description="Positive findings of the study; null before they are known."
    )


class StudyEntry(_Study):
    """One study as a line of the worklist."""

    images: int = Field(description="How many were received.")


class ImageProblem(Frozen):
    """The reason why an image was not analysed."""

    slug: str
    title: str
    detail: str


class ImageEntry(Frozen):
    """One received image."""

    sop_instance_uid: str
    state: ImageState
    problem: ImageProblem | None
    rows: int | None
    columns: int | None
    view: str
    expired: bool = Field(description="True once the image was deleted by retention; its answer stays.")


class StudyContent(_Study):
    """One study with its images, in the order they arrived."""

    images: list[ImageEntry]


class Worklist:
    """Read-only views of one archive. Thread-safe."""

    def __init__(self, store: Store, database: Database) -> None:
        self._store: Final = store
        self._database: Final = database

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with answering(), self._database.reading() as connection:
            yield connection

    def version(self) -> int:
        """A number that grows with every change; for ETags."""
        with answering():
            return self._database.changes()

    def studies(
        self, *, search: str = "", state: StudyState | None = None, limit: int = 100
    ) -> list[StudyEntry]:
        """Studies, newest first; those that were fetched as priors after all others.

        Args:
            search: part of the name, patient ID, accession number or description, in any case; or a whole
                Study Instance UID.
        """
        query = sa.select(STUDIES).order_by(STUDIES.c.prior, STUDIES.c.received.desc(), STUDIES.c.key)
        query = query.limit(limit)
        if search:
            contains = STUDIES.c.search.like(pattern(search), escape="\\")
            query = query.where(sa.or_(STUDIES.c.study_instance_uid == search, contains))
        if state == "receiving":
            query = query.where(STUDIES.c.open == 1)
        elif state is not None:
            query = query.where(STUDIES.c.open == 0, STUDIES.c.state == state)
        with self._reading() as connection:
            return [
                StudyEntry.model_validate(_entry(StudyRow._make(row))) for row in connection.execute(query)
            ]

    def study(self, study_instance_uid: str) -> StudyContent | None:
        """One study; None where nothing of it was received."""
        with self._reading() as connection:
            row = connection.execute(
                sa.select(STUDIES).where(STUDIES.c.study_instance_uid == study_instance_uid)
            ).first()
            if row is None:
                return None
            study = StudyRow._make(row)
            images = connection.execute(
                sa.select(OBJECTS).where(OBJECTS.c.study_key == study.key).order_by(OBJECTS.c.arrival)
            )
            return StudyContent.model_validate(
                {**_entry(study), "images": [_image(ObjectRow._make(image)) for image in images]}
            )

    def image(self, study_instance_uid: str, sop_instance_uid: str) -> BinaryIO | None:
        """The open file of a received object, byte for byte; None where there is none. The caller closes it.

        Raises:
            DamagedObject: its file is not what was received.
            ObjectExpired: it was deleted by retention.
        """
        row = self._object(study_instance_uid, sop_instance_uid)
        if row is None:
            return None
        if row.expired:
            raise ObjectExpired(
                "the image was deleted after its retention time; its results are still there."
            )
        return self._store.open(row.sha256)

    def answer(self, study_instance_uid: str, sop_instance_uid: str) -> bytes | None:
        """The stored answer of an image as JSON; None where there is none (yet)."""
        row = self._object(study_instance_uid, sop_instance_uid)
        if row is None or row.state != "done":
            return None
        return (self._store.results_path(row.results) / "answer.json").read_bytes()

    def results(self, study_instance_uid: str) -> list[bytes]:
        """The DICOM results of a study: those of its images, and its newest report; Part 10 files."""
        results: list[bytes] = []
        with self._reading() as connection:
            study = connection.execute(
                sa.select(STUDIES).where(STUDIES.c.study_instance_uid == study_instance_uid)
            ).first()
            if study is None:
                return []
            keys = list(
                connection.execute(
                    sa.select(OBJECTS.c.results)
                    .where(OBJECTS.c.study_key == study.key, OBJECTS.c.state == "done")
                    .order_by(OBJECTS.c.arrival)
                ).scalars()
            )
        for key in keys:
            results += [path.read_bytes() for path in sorted(self._store.results_path(key).glob("*.dcm"))]
        report = self.report_file(study_instance_uid, "report.dcm")
        return [*results, report] if report is not None else results

    def report_file(self, study_instance_uid: str, name: str) -> bytes | None:
        """`report.dcm` or `study.json` of the newest revision that has results; None before there is one."""
        with self._reading() as connection:
            study = connection.execute(
                sa.select(STUDIES.c.key, STUDIES.c.revision).where(
                    STUDIES.c.study_instance_uid == study_instance_uid
                )
            ).first()
        if study is None:
            return None
        for revision in range(study.revision, 0, -1):
            folder = self._store.results_path(revision_key(study.key, revision))
            if folder.exists():
                path = folder / name
                return path.read_bytes() if path.exists() else None
        return None

    def fhir(self, study_instance_uid: str, bundle: Bundle) -> bytes | None:
        """The study as a FHIR R4 DiagnosticReport, of all images that were read; None before there is one."""
        from cxrserve.reports.fhir import diagnostic_report  # its models take a second to import

        with self._reading() as connection:
            rows = connection.execute(
                sa.select(OBJECTS)
                .join(STUDIES)
                .where(STUDIES.c.study_instance_uid == study_instance_uid, OBJECTS.c.state != "waiting")
                .order_by(OBJECTS.c.arrival)
            )
            images = [ObjectRow._make(row) for row in rows]
        if not images:
            return None
        inputs = read_inputs(self._store, images)
        when = as_time(max(image.received for image in images))
        return diagnostic_report(inputs.sources, inputs.summaries, inputs.refusals, bundle, when=when)

    def _object(self, study_instance_uid: str, sop_instance_uid: str) -> ObjectRow | None:
        query = (
            sa.select(OBJECTS)
            .join(STUDIES)
            .where(
                STUDIES.c.study_instance_uid == study_instance_uid,
                OBJECTS.c.sop_instance_uid == sop_instance_uid,
            )
        )
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else ObjectRow._make(row)


def _entry(row: StudyRow) -> dict[str, object]:
    return {
        **row._asdict(),
        "state": "receiving" if row.open else row.state,
        "priority": "stat" if row.stat else "routine",
        "images": row.changes - row.corrections,
        "prior": bool(row.prior),
        "positive": None if row.positive is None else json.loads(row.positive),
    }


def _image(row: ObjectRow) -> dict[str, object]:
    problem = None if row.problem is None else json.loads(row.problem)
    return {**row._asdict(), "problem": problem, "expired": bool(row.expired)}
