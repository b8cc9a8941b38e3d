"""Keep, then acknowledge.

An object is acknowledged when its file and folder were fsynced and its row is committed. That row is also its
work: whatever a study has received beyond what its newest revision covers is still to be done (`planner.py`
reads it from there, at every start too). So there is no moment between keeping and enqueueing at which a
crash could lose work: the outbox is the index itself, written in the transaction that is acknowledged.

    killed before the commit    a file that no row names may be left; the sender was told nothing, and sends
                                again; the same content goes to the same place.
    killed after the commit     the sender may not know, and sends again: a duplicate, with no second result.
"""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.committer import Committer
from cxrserve.archive.entry import OTHER_PATIENT, Entry, is_of_another_patient
from cxrserve.archive.incoming import Incoming
from cxrserve.archive.index import OBJECTS, QUARANTINE, Index, answering
from cxrserve.archive.parsed import Parsed, parse
from cxrserve.archive.receipt import Outcome, Reason, Receipt, Source
from cxrserve.archive.room import Room
from cxrserve.archive.rules import Rules
from cxrserve.archive.store import DamagedObject, Store
from cxrserve.ensemble.bundle import Bundle
from cxrserve.imaging.limits import Limits
from cxrserve.settings import Settings

_PIECE_BYTES: Final = 2**20
_WHY_ASIDE: Final[dict[Reason, str]] = {
    "other-content": "an object with this SOP Instance UID and other content was kept before; "
    "this one is set aside.",
    "other-patient": "the study was kept with another Patient ID or issuer; this image is set aside.",
}


class Intake:
    """Receives objects from many threads."""

    def __init__(self, store: Store, index: Index, rules: Rules, settings: Settings, bundle: Bundle) -> None:
        self._bundle: Final = bundle
        self._store: Final = store
        self._index: Final = index
        self._rules: Final = rules
        self._limits: Final = Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels)
        self._room: Final = Room(store, index, settings)
        self._committer: Final = Committer(index, timeout_s=settings.database_timeout_s)

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
                if is_of_another_patient(connection, incoming):
                    return self._quarantine(incoming, OTHER_PATIENT)
            file.keep(self._store.object_path(incoming.sha256))
            entry = Entry(incoming=incoming, rule=rule, quiet_s=self._rules.quiet_s(rule))
            kept = self._committer.commit(entry)
            if kept is None:
                self._room.took(file.size)
                return incoming.receipt("kept", f"kept by rule {rule.name}.")
        if kept == OTHER_PATIENT:  # of two first images of a study the other was faster
            return self._quarantine(incoming, OTHER_PATIENT)
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

    def close(self) -> None:
        """Commit what waits and stop. Idempotent."""
        self._committer.close()
