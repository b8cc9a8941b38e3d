"""Keep, then acknowledge.

An object is acknowledged when its file and folder were fsynced and its row is committed. That row is also its
work: whatever a study has received beyond what its newest revision covers is still to be done (`planner.py`
reads it from there, at every start too). So there is no moment between keeping and enqueueing at which a
crash could lose work: the outbox is the index itself, written in the transaction that is acknowledged.

    killed before the commit    a file that no row names may be left; the sender was told nothing, and sends
                                again; the same content goes to the same place.
    killed after the commit     the sender may not know, and sends again: a duplicate, with no second result.

Commits are made by one thread for all objects that wait at that moment, as each costs the disk a flush.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cxrserve.archive.index import OBJECTS, QUARANTINE, STUDIES, Index, answering
from cxrserve.archive.receipt import Outcome, Reason, Receipt, Source
from cxrserve.archive.room import Room
from cxrserve.archive.rules import Rule, Rules, Traits
from cxrserve.archive.store import DamagedObject, Store, key_of
from cxrserve.ensemble.bundle import Bundle
from cxrserve.errors import NotReady, OutOfResources
from cxrserve.imaging.border import reading
from cxrserve.imaging.dicom.dataset import open_data_set, text
from cxrserve.imaging.dicom.source_header import source_header
from cxrserve.imaging.limits import Limits
from cxrserve.reports.dicom import read_source
from cxrserve.reports.dicom.identity import is_result
from cxrserve.settings import Settings

_MOST_IN_ONE_COMMIT: Final = 64
_GRACE_S: Final = 5.0  # beyond what the database itself may take
_OTHER_PATIENT: Final = "other-patient"  # what `_write` says in the place of a content hash
_WHY_ASIDE: Final[dict[Reason, str]] = {
    "other-content": "an object with this SOP Instance UID and other content was kept before; "
    "this one is set aside.",
    "other-patient": "the study was kept with another Patient ID or issuer; this image is set aside.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Incoming:
    """One object, parsed."""

    data: bytes
    header: bytes
    rows: int | None
    columns: int | None
    source: Source
    sha256: str
    content_sha256: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    patient_name: str
    patient_id: str
    patient_id_issuer: str
    study_date: str
    description: str
    modality: str
    accession_number: str
    traits: Traits
    is_result: bool

    def receipt(self, outcome: Outcome, detail: str, reason: Reason | None = None) -> Receipt:
        return Receipt(
            outcome=outcome,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            study_instance_uid=self.study_instance_uid,
            sha256=self.sha256,
            detail=detail,
            reason=reason,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One object whose file is on disk, waiting for its row; `done` gives what `_write` does."""

    incoming: _Incoming
    rule: Rule
    quiet_s: float
    done: Future[str]


class Intake:
    """Receives objects from many threads."""

    def __init__(self, store: Store, index: Index, rules: Rules, settings: Settings, bundle: Bundle) -> None:
        self._bundle: Final = bundle
        self._store: Final = store
        self._index: Final = index
        self._rules: Final = rules
        self._settings: Final = settings
        self._limits: Final = Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels)
        self._parsing: Final = threading.Lock()  # `border.reading` sets warnings aside for the whole process
        self._room: Final = Room(store, index, settings)
        self._waiting: Final[queue.SimpleQueue[_Entry | None]] = queue.SimpleQueue()
        self._closed = False
        self._committer: Final = threading.Thread(target=self._commit_all, name="committer", daemon=True)
        self._committer.start()

    def receive(self, data: bytes, source: Source) -> Receipt:
        """As `Archive.receive`."""
        self._room.check(len(data))
        incoming = self._parse(data, source)
        if incoming.is_result:
            return incoming.receipt("ignored", "this is a result, not a radiograph, so it was not kept.")
        rule = self._rules.rule_for(incoming.traits)
        if rule is None:
            outcome: Outcome = "ignored" if self._rules.otherwise == "ignore" else "refused"
            return incoming.receipt(outcome, "no rule takes this object, so it was not kept.")
        with answering():
            kept = self._kept(incoming.sop_instance_uid)
        if kept is None:
            with answering(), self._index.reading() as connection:
                if _is_of_another_patient(connection, incoming):
                    return self._quarantine(incoming, _OTHER_PATIENT)
            self._store.keep(data, incoming.sha256)
            kept = self._commit(incoming, rule)
            if kept is None:
                self._room.took(len(data))
                return incoming.receipt("kept", f"kept by rule {rule.name}.")
        if kept == _OTHER_PATIENT:  # of two first images of a study the other was faster
            return self._quarantine(incoming, _OTHER_PATIENT)
        if kept == incoming.content_sha256:
            self._mend(incoming)
            return incoming.receipt("duplicate", "this very object was kept before.")
        return self._quarantine(incoming, "other-content")

    def _parse(self, data: bytes, source: Source) -> _Incoming:
        with self._parsing:
            cleaned = source_header(data, self._limits)
            header = read_source(cleaned).header
            with reading("the DICOM header"):
                opened = open_data_set(data, self._limits)
        content = sha256(opened.transfer_syntax.encode())
        content.update(memoryview(opened.data)[opened.start :])
        return _Incoming(
            data=data,
            header=cleaned,
            rows=header.get("Rows"),
            columns=header.get("Columns"),
            source=source,
            sha256=sha256(data).hexdigest(),
            content_sha256=content.hexdigest(),
            sop_class_uid=str(header.SOPClassUID),
            sop_instance_uid=str(header.SOPInstanceUID),
            study_instance_uid=str(header.StudyInstanceUID),
            patient_name=str(header.get("PatientName", "")),
            patient_id=text(header, "PatientID"),
            patient_id_issuer=text(header, "IssuerOfPatientID"),
            study_date=text(header, "StudyDate"),
            description=text(header, "StudyDescription"),
            modality=text(header, "Modality"),
            accession_number=text(header, "AccessionNumber"),
            traits=Traits(
                modality=text(header, "Modality"),
                body_part=text(header, "BodyPartExamined"),
                view=text(header, "ViewPosition"),
                station=text(header, "StationName"),
                calling_ae=source.calling_ae,
            ),
            is_result=is_result(header, self._bundle),
        )

    def _kept(self, sop_instance_uid: str) -> str | None:
        """The content hash that is kept under this UID."""
        with self._index.reading() as connection:
            return connection.execute(
                sa.select(OBJECTS.c.content_sha256).where(OBJECTS.c.sop_instance_uid == sop_instance_uid)
            ).scalar()

    def _mend(self, incoming: _Incoming) -> None:
        """Its sender may now forget the object, so its file must be there and sound; these are its bytes."""
        with answering(), self._index.reading() as connection:
            held = connection.execute(
                sa.select(OBJECTS.c.sha256).where(
                    OBJECTS.c.sop_instance_uid == incoming.sop_instance_uid, OBJECTS.c.expired == 0
                )
            ).scalar()
        if held != incoming.sha256:  # deleted by retention, or with other meta information
            return
        try:
            self._store.read(held)
        except DamagedObject:
            self._store.keep(incoming.data, held)

    def _quarantine(self, incoming: _Incoming, reason: Reason) -> Receipt:
        self._store.keep(incoming.data, incoming.sha256, quarantined=True)
        with answering(), self._index.writing() as connection:
            self._index.insert_new(
                connection,
                QUARANTINE,
                sha256=incoming.sha256,
                sop_instance_uid=incoming.sop_instance_uid,
                protocol=incoming.source.protocol,
                calling_ae=incoming.source.calling_ae,
                received=time.time(),
                reason=reason,
            )
        return incoming.receipt("quarantined", _WHY_ASIDE[reason], reason)

    def _commit(self, incoming: _Incoming, rule: Rule) -> str | None:
        """Wait until the row is committed: None, or what another sender was faster with (see `_write`)."""
        entry = _Entry(incoming=incoming, rule=rule, quiet_s=self._rules.quiet_s(rule), done=Future())
        if self._closed:
            raise NotReady("the archive is closing; send the object again later.")
        self._waiting.put(entry)
        wait([entry.done], self._settings.database_timeout_s + _GRACE_S)
        if not entry.done.done():
            raise OutOfResources(
                f"the archive's database took longer than {self._settings.database_timeout_s:g} s "
                "(CXRSERVE_DATABASE_TIMEOUT_S). Send the object again later.",
                retry_after_s=30,
            )
        kept = entry.done.result()
        return None if kept == "" else kept

    def _commit_all(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, ended = [first], False
            while len(batch) < _MOST_IN_ONE_COMMIT and not self._waiting.empty():
                entry = self._waiting.get()
                if entry is None:
                    ended = True
                    break
                batch.append(entry)
            try:
                self._commit_batch(batch)
            except IntegrityError:  # another node keeps one of them at this moment
                for entry in batch:
                    self._commit_alone(entry)
            if ended:
                return

    def _commit_alone(self, entry: _Entry) -> None:
        try:
            self._commit_batch([entry])
        except IntegrityError as error:
            entry.done.set_exception(
                OutOfResources(f"two nodes keep this object at once ({type(error).__name__}). Send it again.")
            )

    def _commit_batch(self, batch: list[_Entry]) -> None:
        """One transaction for all of `batch`, always in the order of studies, so that nodes never lock up."""
        kept: list[tuple[_Entry, str]] = []
        try:
            with answering(), self._index.writing() as connection:
                for entry in sorted(batch, key=lambda each: each.incoming.study_instance_uid):
                    kept.append((entry, self._write(connection, entry)))  # noqa: PERF401 - partly done on error
                self._index.touch(connection)
        except IntegrityError:
            raise
        except Exception as error:
            for entry in batch:
                entry.done.set_exception(error)
            return
        for entry, before in kept:
            entry.done.set_result(before)

    def _write(self, connection: sa.Connection, entry: _Entry) -> str:
        """Write one object's row: "". Or not: the content hash that is there already, or `_OTHER_PATIENT`."""
        incoming, now = entry.incoming, time.time()
        uid = incoming.sop_instance_uid
        before = connection.execute(
            sa.select(OBJECTS.c.content_sha256).where(OBJECTS.c.sop_instance_uid == uid)
        ).scalar()
        if before is not None:
            return str(before)
        study_key = key_of(incoming.study_instance_uid)
        self._index.insert_new(
            connection,
            STUDIES,
            key=study_key,
            study_instance_uid=incoming.study_instance_uid,
            patient_name=incoming.patient_name,
            patient_id=incoming.patient_id,
            patient_id_issuer=incoming.patient_id_issuer,
            study_date=incoming.study_date,
            description=incoming.description,
            modality=incoming.modality,
            accession_number=incoming.accession_number,
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
        if _is_of_another_patient(connection, incoming):
            return _OTHER_PATIENT
        stat = 1 if entry.rule.priority == "stat" else 0
        study = STUDIES.c
        arrival = connection.execute(
            STUDIES.update()
            .where(study.key == study_key)
            .values(
                changes=study.changes + 1,
                open=1,
                stat=sa.case((study.stat > stat, study.stat), else_=stat),
                quiet_s=sa.case((study.quiet_s > entry.quiet_s, study.quiet_s), else_=entry.quiet_s),
                patient_id=sa.case((study.patient_id == "", incoming.patient_id), else_=study.patient_id),
                patient_id_issuer=sa.case(
                    (study.patient_id_issuer == "", incoming.patient_id_issuer),
                    else_=study.patient_id_issuer,
                ),
                changed=now,
            )
            .returning(study.changes)
        ).scalar_one()
        connection.execute(
            OBJECTS.insert().values(
                sop_instance_uid=uid,
                sop_class_uid=incoming.sop_class_uid,
                study_key=study_key,
                arrival=arrival,
                sha256=incoming.sha256,
                content_sha256=incoming.content_sha256,
                bytes=len(incoming.data),
                rule=entry.rule.name,
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
        return ""

    def close(self) -> None:
        """Commit what waits and stop. Idempotent."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
        self._committer.join()


def _is_of_another_patient(connection: sa.Connection, incoming: _Incoming) -> bool:
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
