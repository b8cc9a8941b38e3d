"""What the archive holds, for those who look: studies, their images, what was made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from cxrserve.archive.index import COUNTER, OBJECTS, STUDIES, Index, answering
from cxrserve.archive.material import material, moment
from cxrserve.archive.rules import Priority
from cxrserve.archive.search import pattern
from cxrserve.archive.store import ObjectExpired, Store
from cxrserve.archive.study import report_key
from cxrserve.ensemble.bundle import Bundle

StudyState = Literal["receiving", "waiting", "working", "done", "failed", "refused"]
ImageState = Literal["waiting", "done", "failed", "refused"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Study(_Part):
    """What is said of a study everywhere."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    study_date: str = Field(description="YYYYMMDD, or empty.")
    description: str
    modality: str
    accession_number: str
    state: StudyState = Field(
        description="receiving: images may still come; waiting, working: its turn is to come, or has; done; "
        "refused: no image could be judged; failed: an image is damaged, or its results cannot be made."
    )
    priority: Priority
    received: float = Field(description="When the first image arrived, in seconds since 1970.")
    changed: float = Field(description="When the last image arrived, in seconds since 1970.")
    positive: list[str] | None = Field(
        description="Positive findings of the study; null before they are known."
    )


class StudyEntry(_Study):
    """One study as a line of the worklist."""

    images: int = Field(description="How many were received.")


class ImageProblem(_Part):
    """Why an image was not judged."""

    slug: str
    title: str
    detail: str


class ImageEntry(_Part):
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


class Catalogue:
    """Looks things up; changes nothing."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store: Final = store
        self._index: Final = index

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with answering(), self._index.reading() as connection:
            yield connection

    def version(self) -> int:
        """A number that grows with every change; for ETags."""
        with self._reading() as connection:
            return int(connection.execute(sa.select(COUNTER.c.value)).scalar_one())

    def studies(
        self, *, search: str = "", state: StudyState | None = None, limit: int = 100
    ) -> list[StudyEntry]:
        """Studies, newest first.

        Args:
            search: part of the name, patient ID, accession number or description, in any case; or a whole
                Study Instance UID.
        """
        query = sa.select(STUDIES).order_by(STUDIES.c.received.desc(), STUDIES.c.key).limit(limit)
        if search:
            found = STUDIES.c.search.like(pattern(search), escape="\\")
            query = query.where(sa.or_(STUDIES.c.study_instance_uid == search, found))
        if state == "receiving":
            query = query.where(STUDIES.c.open == 1)
        elif state is not None:
            query = query.where(STUDIES.c.open == 0, STUDIES.c.state == state)
        with self._reading() as connection:
            return [StudyEntry.model_validate(_entry(row)) for row in connection.execute(query)]

    def study(self, study_instance_uid: str) -> StudyContent | None:
        """One study; None where nothing of it was received."""
        with self._reading() as connection:
            row = connection.execute(
                sa.select(STUDIES).where(STUDIES.c.study_instance_uid == study_instance_uid)
            ).first()
            if row is None:
                return None
            images = connection.execute(
                sa.select(OBJECTS).where(OBJECTS.c.study_key == row.key).order_by(OBJECTS.c.arrival)
            )
            return StudyContent.model_validate({**_entry(row), "images": [_image(each) for each in images]})

    def image(self, study_instance_uid: str, sop_instance_uid: str) -> bytes | None:
        """A received object as it came; None where there is none.

        Raises:
            DamagedObject: its file is not what was received.
            ObjectExpired: it was deleted by retention.
        """
        row = self._object(study_instance_uid, sop_instance_uid)
        if row is None:
            return None
        if row.expired:
            raise ObjectExpired(
                "the image was deleted when its retention time was over; its results are kept."
            )
        return self._store.read(row.sha256)

    def answer(self, study_instance_uid: str, sop_instance_uid: str) -> bytes | None:
        """The stored answer of an image as JSON; None where there is none (yet)."""
        row = self._object(study_instance_uid, sop_instance_uid)
        if row is None or row.state != "done":
            return None
        return (self._store.results_path(row.sha256) / "answer.json").read_bytes()

    def results(self, study_instance_uid: str) -> list[bytes]:
        """The DICOM objects made of a study: those of its images, and its newest report; Part 10 files."""
        found: list[bytes] = []
        with self._reading() as connection:
            study = connection.execute(
                sa.select(STUDIES).where(STUDIES.c.study_instance_uid == study_instance_uid)
            ).first()
            if study is None:
                return []
            keys = list(
                connection.execute(
                    sa.select(OBJECTS.c.sha256)
                    .where(OBJECTS.c.study_key == study.key, OBJECTS.c.state == "done")
                    .order_by(OBJECTS.c.arrival)
                ).scalars()
            )
        for key in keys:
            found += [path.read_bytes() for path in sorted(self._store.results_path(key).glob("*.dcm"))]
        report = self.report_file(study_instance_uid, "report.dcm")
        return [*found, report] if report is not None else found

    def report_file(self, study_instance_uid: str, name: str) -> bytes | None:
        """`report.dcm` or `study.json` of the newest revision that is made; None before there is one."""
        with self._reading() as connection:
            study = connection.execute(
                sa.select(STUDIES.c.key, STUDIES.c.revision).where(
                    STUDIES.c.study_instance_uid == study_instance_uid
                )
            ).first()
        if study is None:
            return None
        for revision in range(study.revision, 0, -1):
            folder = self._store.results_path(report_key(study.key, revision))
            if folder.exists():
                path = folder / name
                return path.read_bytes() if path.exists() else None
        return None

    def fhir(self, study_instance_uid: str, bundle: Bundle) -> bytes | None:
        """The study as a FHIR R4 DiagnosticReport, of all images that were read; None before there is one."""
        from cxrserve.reports.fhir import diagnostic_report  # its models take a second to import

        with self._reading() as connection:
            images = connection.execute(
                sa.select(OBJECTS)
                .join(STUDIES)
                .where(STUDIES.c.study_instance_uid == study_instance_uid, OBJECTS.c.state != "waiting")
                .order_by(OBJECTS.c.arrival)
            ).all()
        if not images:
            return None
        found = material(self._store, images)
        when = moment(max(each.received for each in images))
        return diagnostic_report(found.sources, found.summaries, found.refusals, bundle, when=when)

    def _object(self, study_instance_uid: str, sop_instance_uid: str) -> Any:
        with self._reading() as connection:
            return connection.execute(
                sa.select(OBJECTS)
                .join(STUDIES)
                .where(
                    STUDIES.c.study_instance_uid == study_instance_uid,
                    OBJECTS.c.sop_instance_uid == sop_instance_uid,
                )
            ).first()


def _entry(row: Any) -> dict[str, object]:
    return {
        **row._asdict(),
        "state": "receiving" if row.open else row.state,
        "priority": "stat" if row.stat else "routine",
        "images": row.changes,
        "positive": None if row.positive is None else json.loads(row.positive),
    }


def _image(row: Any) -> dict[str, object]:
    problem = None if row.problem is None else json.loads(row.problem)
    return {**row._asdict(), "problem": problem, "expired": bool(row.expired)}
