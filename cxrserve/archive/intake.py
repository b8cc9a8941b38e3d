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
from io import BytesIO
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cxrserve.archive.incoming import Incoming
from cxrserve.archive.index import OBJECTS, QUARANTINE, STUDIES, Index, answering
from cxrserve.archive.parsed import Parsed, parse
from cxrserve.archive.receipt import Outcome, Reason, Receipt, Source
from cxrserve.archive.room import Room
from cxrserve.archive.rules import Rule, Rules
from cxrserve.archive.search import folded
from cxrserve.archive.store import DamagedObject, Store, key_of
from cxrserve.ensemble.bundle import Bundle
from cxrserve.errors import NotReady, OutOfResources
from cxrserve.imaging.limits import Limits
from cxrserve.settings import Settings

_PIECE_BYTES: Final = 2**20
_MOST_IN_ONE_COMMIT: Final = 64
_GRACE_S: Final = 5.0  # beyond what the database itself may take
_OTHER_PATIENT: Final = "other-patient"  # what `_write` says in the place of a content hash
_WHY_ASIDE: Final[dict[Reason, str]] = {
    "other-content": "an object with this SOP Instance UID and other content was kept before; "
    "this one is set aside.",
    "other-patient": "the study was kept with another Patient ID or issuer; this image is set aside.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One object whose file is on disk, waiting for its row; `done` gives what `_write` does."""

    incoming: Parsed
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
        self._room: Final = Room(store, index, settings)
        self._waiting: Final[queue.SimpleQueue[_Entry | None]] = queue.SimpleQueue()
        self._closed = False
        self._committer: Final = threading.Thread(target=self._commit_all, name="committer", daemon=True)
        self._committer.start()

    def begin(self, size: int = 0) -> Incoming:
        """A file for an object that comes, of at least `size` bytes.

        Raises:
            OutOfResources: there is no room on the disk.
        """
        self._room.check_disk(size)
        return Incoming(self._store.new_path())

    def receive(self, part10: bytes | Path | Incoming, source: Source) -> Receipt:
        """As `Archive.receive`."""
        if isinstance(part10, Incoming):
            return self._received(part10, source)
        size = part10.stat().st_size if isinstance(part10, Path) else len(part10)
        self._room.check_archive(size)
        with (
            self.begin(size) as file,
            part10.open("rb") if isinstance(part10, Path) else BytesIO(part10) as pieces,
        ):
            while piece := pieces.read(_PIECE_BYTES):
                file.write(piece)
            file.finish()
            return self._received(file, source)

    def _received(self, file: Incoming, source: Source) -> Receipt:
        self._room.check_disk(0)
        self._room.check_archive(file.size)
        incoming = parse(file, source, self._limits, self._bundle)
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
            file.keep(self._store.object_path(incoming.sha256))
            kept = self._commit(incoming, rule)
            if kept is None:
                self._room.took(file.size)
                return incoming.receipt("kept", f"kept by rule {rule.name}.")
        if kept == _OTHER_PATIENT:  # of two first images of a study the other was faster
            return self._quarantine(incoming, _OTHER_PATIENT)
        if kept == incoming.content_sha256:
            self._mend(incoming)
            return incoming.receipt("duplicate", "this very object was kept before.")
        return self._quarantine(incoming, "other-content")

    def _kept(self, sop_instance_uid: str) -> str | None:
        """The content hash that is kept under this UID."""
        with self._index.reading() as connection:
            return connection.execute(
                sa.select(OBJECTS.c.content_sha256).where(OBJECTS.c.sop_instance_uid == sop_instance_uid)
            ).scalar()

    def _mend(self, incoming: Parsed) -> None:
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
            incoming.file.keep(self._store.object_path(held))

    def _quarantine(self, incoming: Parsed, reason: Reason) -> Receipt:
        incoming.file.keep(self._store.quarantine_path(incoming.sha256))
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

    def _commit(self, incoming: Parsed, rule: Rule) -> str | None:
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
                search=sa.case(
                    (study.patient_id == "", study.search + "\n" + folded(incoming.patient_id)),
                    else_=study.search,
                )
                if incoming.patient_id
                else study.search,
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
                bytes=incoming.file.size,
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


def _is_of_another_patient(connection: sa.Connection, incoming: Parsed) -> bool:
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
