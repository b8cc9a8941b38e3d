"""Decisions of a person on quarantined objects and on a study's patient, beside a running node."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

import sqlalchemy as sa

from cxrserve.archive.jobs.job_store import open_database
from cxrserve.archive.receipt import Receipt, Source
from cxrserve.archive.receiving.corrections import (
    correct_study,
    is_in_its_study,
    locked_study,
    patient_of_study,
    study_key_of_object,
)
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.archive.receiving.intake import Intake
from cxrserve.archive.receiving.parse import parse
from cxrserve.archive.rules import ConflictRule, CurrentRules
from cxrserve.archive.rules_file import load_rules
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import Store, key_of
from cxrserve.archive.storage.tables import QUARANTINE
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record
from cxrserve.errors import Busy, CxrserveError, RequestError
from cxrserve.imaging.dicom.dataset import MAX_HEADER_BYTES
from cxrserve.imaging.dicom.source_header import source_header
from cxrserve.imaging.display_header import DisplayedImage
from cxrserve.imaging.limits import Limits
from cxrserve.reports.dicom.patient import Patient, patient_of
from cxrserve.settings import Settings

_PIECE_BYTES: Final = 2**20


class _Row(NamedTuple):
    """One quarantined object."""

    sha256: str
    sop_instance_uid: str
    protocol: str
    calling_ae: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Decider:
    """The person who decides, for the audit trail.

    Attributes:
        address, request: of the HTTP request; "" for a command.
        means: what the decision was made with.
    """

    user: str
    address: str = ""
    request: str = ""
    means: Literal["command", "viewer"] = "command"


def held_patient(store: Store, digest: str) -> Patient:
    """The patient whom a quarantined file names; an empty one where it cannot be read."""
    try:
        with store.quarantine_path(digest).open("rb") as file:
            return patient_of(source_header(file.read(MAX_HEADER_BYTES)))
    except (OSError, CxrserveError):
        return Patient()


def _ids_of(patient: Patient) -> tuple[str, ...]:
    return (patient.patient_id,) if patient.patient_id else ()


class Decisions:
    """Takes in, moves or deletes quarantined objects, and moves studies. A context manager.

    Args:
        by: the person, and the request that the decision came with; by default the user of this process.
    """

    def __init__(self, settings: Settings, by: Decider | None = None) -> None:
        self._by: Final = by or Decider(user=getpass.getuser())
        self._user: Final = self._by.user
        self._settings: Final = settings
        self._rules: Final = CurrentRules(load_rules(settings.rules))
        self._database: Final[Database] = open_database(settings, must_exist=True)
        assert settings.archive is not None  # noqa: S101 - `open_database` has refused it
        # A folder of its own for unfinished files: that of a node is emptied at its start.
        self._store: Final = Store(settings.archive, f"command {os.getpid()}")
        self._intake: Final = Intake(
            self._store, self._database, self._rules, settings, None, decode=_decode_nothing
        )

    def release(self, digest: str) -> Receipt:
        """Take in a quarantined object as it is: it is right, and what is stored is corrected after it.

        Its study moves to its patient; an image with its UID and other content is replaced by it.

        Raises:
            RequestError: there is no such object, or the stored image with its UID is of another study.
        """
        row = self._find(digest)
        other_patient = row.reason == "other-patient"
        patient = held_patient(self._store, row.sha256)
        if other_patient and not self._is_stored(row.sop_instance_uid):
            receipt = self._receive(row, "newest")
        else:  # a copy of a stored image is held only where its pixels are the same
            receipt = self._replace(row, same=other_patient)
        self._settled(row.sha256, receipt, patient)
        return receipt

    def move(self, digest: str) -> Receipt:
        """Take in a quarantined object under the patient of its stored study: the study is right.

        Raises:
            RequestError: there is no such object, or it is no other patient's.
        """
        row = self._find(digest)
        if row.reason != "other-patient":
            raise RequestError(
                "this object has the UID of a stored image and other content: release it or drop it."
            )
        if self._is_stored(row.sop_instance_uid):
            raise RequestError("this image is stored under the patient of its study already: drop this copy.")
        patient = held_patient(self._store, row.sha256)
        receipt = self._receive(row, "archive")
        self._settled(row.sha256, receipt, patient)
        return receipt

    def drop(self, digest: str) -> None:
        """Delete a quarantined object for good.

        Raises:
            RequestError: there is no such object.
        """
        row = self._find(digest)
        patient = held_patient(self._store, row.sha256)
        self._intake.forget_quarantined(row.sha256)
        record(
            AuditEvent(
                action="delete",
                detail="quarantine",
                user=self._user,
                address=self._by.address,
                request=self._by.request,
                images=(row.sop_instance_uid,),
                patients=_ids_of(patient),
                files=(row.sha256,),
            )
        )

    def reassign(self, study_instance_uid: str, patient: Patient) -> None:
        """Move a stored study to another patient; its results are made again and sent.

        Empty values of `patient` other than the issuer stay as they are stored.

        Raises:
            RequestError: there is no such study.
        """
        with self._database.writing() as connection:
            study = locked_study(connection, key_of(study_instance_uid))
            if study is None:
                raise RequestError(f"no study has the UID {study_instance_uid[:64]!r}.")
            before = patient_of_study(connection, study)
            after = Patient(
                patient_id=patient.patient_id or before.patient_id,
                issuer=patient.issuer or ("" if patient.patient_id else before.issuer),
                name=patient.name or before.name,
                accession_number=patient.accession_number or before.accession_number,
                birth_date=patient.birth_date or before.birth_date,
                sex=patient.sex or before.sex,
            )
            correct_study(self._database, connection, study, after)
        record(
            AuditEvent(
                action="correct",
                detail=self._by.means,
                user=self._user,
                address=self._by.address,
                request=self._by.request,
                studies=(study_instance_uid,),
                patients=tuple(filter(None, dict.fromkeys((before.patient_id, after.patient_id)))),
            )
        )
        self._intake.release_agreeing(study.key)

    def _find(self, digest: str) -> _Row:
        columns = [QUARANTINE.c[name] for name in _Row._fields]
        query = sa.select(*columns).where(QUARANTINE.c.sha256.startswith(digest, autoescape=True))
        with self._database.reading() as connection:
            rows = connection.execute(query.limit(2)).all()
        if len(rows) != 1 or not digest:
            many = "several quarantined objects have a SHA-256 that begins with"
            raise RequestError(
                f"{many if rows else 'no quarantined object has the SHA-256'} {digest[:64]!r}."
            )
        return _Row._make(rows[0])

    def _is_stored(self, sop_instance_uid: str) -> bool:
        with self._database.reading() as connection:
            return bool(study_key_of_object(connection, sop_instance_uid))

    def _receive(self, row: _Row, conflicts: ConflictRule) -> Receipt:
        source = Source(protocol=row.protocol, calling_ae=row.calling_ae)
        return self._intake.receive(self._store.quarantine_path(row.sha256), source, conflicts)

    def _replace(self, row: _Row, *, same: bool) -> Receipt:
        limits = Limits(max_pixels=self._settings.max_pixels, min_side_pixels=self._settings.min_side_pixels)
        with IncomingFile(self._store.new_path()) as file:
            _copy(self._store.quarantine_path(row.sha256), file)
            source = Source(protocol=row.protocol, calling_ae=row.calling_ae)
            incoming = parse(file, source, limits, None, self._rules.now.keywords)
            with self._database.reading() as connection:
                in_place = is_in_its_study(connection, incoming)
            if not in_place or not self._intake.replace(incoming, same=same, user=self._user):
                raise RequestError(
                    "the stored image with this UID belongs to another study. Drop this object, or send it "
                    "again with a UID of its own."
                )
            return incoming.receipt("kept", "the stored image was replaced.")

    def _settled(self, digest: str, receipt: Receipt, patient: Patient) -> None:
        """Remove an object from quarantine that was taken in.

        Raises:
            RequestError: it was not.
        """
        if receipt.outcome not in ("kept", "duplicate"):
            raise RequestError(receipt.detail)
        self._intake.forget_quarantined(digest)
        record(
            AuditEvent(
                action="release",
                detail=self._by.means,
                user=self._user,
                address=self._by.address,
                request=self._by.request,
                studies=(receipt.study_instance_uid,),
                images=(receipt.sop_instance_uid,),
                patients=_ids_of(patient),
            )
        )

    def close(self) -> None:
        """Commit what waits and close the database. Idempotent."""
        self._intake.close()
        self._database.close()
        self._store.remove_unfinished()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _copy(path: Path, file: IncomingFile) -> None:
    with path.open("rb") as pieces:
        while piece := pieces.read(_PIECE_BYTES):
            file.write(piece)
    file.finish()


def _decode_nothing(_: bytes) -> DisplayedImage:
    """Stand-in for the decode workers of a node: a command compares no pixels."""
    raise Busy("a command decodes no images.")
