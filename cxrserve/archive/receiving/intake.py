"""Intake: store one object, then acknowledge it.

An object is acknowledged when its file and folder were fsynced and its row is committed. That row is also its
work: objects beyond those that a study's newest revision covers are still to be worked on
(`jobs/scheduler.py` reads them from there, at every start too). So there is no moment between storing and
enqueueing at which a crash could lose work: the outbox is the table itself, written in the transaction that
is acknowledged.

    killed before the commit    a file that no row names may be left. The sender was not answered and sends
                                again; the same content goes to the same place.
    killed after the commit     the sender may not know, and sends again: a duplicate, with no second result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.matching import Traits
from cxrserve.archive.receipt import PRIOR, Outcome, Reason, Receipt, Source
from cxrserve.archive.receiving.corrections import (
    is_former,
    locked_study,
    patient_of_study,
    replace_image,
)
from cxrserve.archive.receiving.expected_priors import note_arrival, rule_expecting
from cxrserve.archive.receiving.group_commit import Committer
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.archive.receiving.parse import ReceivedObject, parse
from cxrserve.archive.receiving.quota import Quota
from cxrserve.archive.receiving.records import (
    OTHER_PATIENT,
    ObjectRecord,
    correction_event,
    patient_conflict,
)
from cxrserve.archive.receiving.same_image import Decode, SameImage
from cxrserve.archive.rules import ConflictRule, CurrentRules, Rule
from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.files import DamagedObject, Store, key_of
from cxrserve.archive.storage.tables import OBJECTS, QUARANTINE, STUDIES
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record
from cxrserve.bundle.contract import Bundle
from cxrserve.errors import CxrserveError
from cxrserve.imaging.limits import Limits
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.archive")
_PIECE_BYTES: Final = 2**20
_WHY_QUARANTINED: Final[dict[Reason, str]] = {
    "other-content": "an object with this SOP Instance UID and other content was stored before; "
    "this one is quarantined.",
    "other-patient": "the study was stored with another Patient ID or issuer; this image is held until it is "
    "decided who is right.",
}


def _no_rule(traits: Traits) -> str:
    """The reason for the sender and the log. Values of the file are not repeated: they may be free text."""
    empty = [name for name in ("modality", "body_part", "view", "station") if not getattr(traits, name)]
    hint = f" Empty in it: {', '.join(empty)}." if empty else ""
    return f"no rule takes this object, so it was not stored. Check `match` in the rules.{hint}"


def _unwanted(incoming: ReceivedObject, source: Source) -> Receipt | None:
    """The outcome of an object that no rule is asked about; None for any other."""
    if incoming.is_result:
        return incoming.receipt("ignored", "this is a result, not a radiograph, so it was not stored.")
    if source.patient is not None and incoming.patient.differs_from(source.patient):
        return incoming.receipt("refused", "the image is another patient's than expected.", OTHER_PATIENT)
    return None


class Intake:
    """Receives objects. Thread-safe.

    Args:
        bundle: None where no result can come.
        decode: decodes a file in a decode worker, to compare two objects with one UID.
        committed: called after each commit of objects.
        undecided: called with the key of a study after an object of another patient was held for it.
    """

    def __init__(
        self,
        store: Store,
        database: Database,
        rules: CurrentRules,
        settings: Settings,
        bundle: Bundle | None,
        *,
        decode: Decode,
        committed: Callable[[], None] = lambda: None,
        undecided: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._bundle: Final = bundle
        self._store: Final = store
        self._database: Final = database
        self._rules: Final = rules
        self._limits: Final = Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels)
        self._committed: Final = committed
        self._undecided: Final = undecided
        self._compare: Final = SameImage(store, database, decode)
        self._quota: Final = Quota(store, database, settings)
        self._committer: Final = Committer(
            database, timeout_s=settings.database_timeout_s, committed=committed
        )

    def begin(self, size: int = 0) -> IncomingFile:
        """A file for an object of at least `size` bytes.

        Raises:
            OutOfResources: the disk has too little space left.
        """
        self._quota.check_disk(size)
        return IncomingFile(self._store.new_path())

    def receive(
        self, part10: bytes | Path | IncomingFile, source: Source, conflicts: ConflictRule | None = None
    ) -> Receipt:
        """As `Archive.receive`.

        Args:
            conflicts: which side is right where the study is another patient's; None: what the rules say.
        """
        if isinstance(part10, IncomingFile):
            return self._received(part10, source, conflicts)
        size = part10.stat().st_size if isinstance(part10, Path) else len(part10)
        self._quota.check_archive(size)
        with (
            self.begin(size) as file,
            part10.open("rb") if isinstance(part10, Path) else BytesIO(part10) as pieces,
        ):
            while piece := pieces.read(_PIECE_BYTES):
                file.write(piece)
            file.finish()
            return self._received(file, source, conflicts)

    def _received(self, file: IncomingFile, source: Source, conflicts: ConflictRule | None) -> Receipt:
        self._quota.check_disk(0)
        self._quota.check_archive(file.size)
        rules = self._rules.now
        incoming = self._as_expected(parse(file, source, self._limits, self._bundle, rules.keywords))
        if (receipt := _unwanted(incoming, source)) is not None:
            return receipt
        if prior_of := incoming.source.prior_of:
            return self._receive_prior(incoming, rules.prior_rule_for(prior_of, incoming.traits))
        rule = rules.rule_for(incoming.traits)
        if rule is None:
            outcome: Outcome = "ignored" if rules.otherwise == "ignore" else "refused"
            return incoming.receipt(outcome, _no_rule(incoming.traits))
        policy = conflicts or rules.patients.conflicts
        row = ObjectRecord(incoming=incoming, rule=rule, quiet_s=rules.quiet_s(rule), conflicts=policy)
        with answering():
            before = self._content_hash_of(incoming.sop_instance_uid)
        if before is None:
            if policy in ("hold", "pacs"):
                with answering(), self._database.reading() as connection:
                    conflict = patient_conflict(connection, incoming)
                if conflict is not None and conflict[1] == "other":
                    return self._hold(incoming, policy)
            file.commit(self._store.object_path(incoming.sha256))
            before = self._committer.commit(row)
            if before is None:
                self._quota.add(file.size)
                for event in row.corrections:
                    record(event)
                if row.corrections and policy == "newest":
                    self.release_agreeing(key_of(incoming.study_instance_uid))
                return incoming.receipt("kept", f"stored by rule {rule.name}.")
        if before == OTHER_PATIENT:  # of two first images of a study the other was faster
            return self._hold(incoming, policy)
        return self._received_again(row, same=before == incoming.content_sha256)

    def _take_over(self, row: ObjectRecord) -> bool:
        """Work on an image that was stored as a prior, and has come by itself now; False for any other."""
        with answering(), self._database.writing() as connection:
            if not row.take_over(self._database, connection):
                return False
            row.incoming.file.commit(self._store.object_path(row.incoming.sha256))
        self._committed()
        return True

    def _as_expected(self, incoming: ReceivedObject) -> ReceivedObject:
        """The object as a prior, where a job of this archive has asked a PACS to send it here."""
        if incoming.source.protocol != "dimse" or not self._rules.now.moves_priors:
            return incoming
        with answering(), self._database.reading() as connection:
            rule = rule_expecting(connection, incoming.sop_instance_uid)
        if rule is None:
            return incoming
        return replace(incoming, source=replace(incoming.source, protocol=PRIOR, prior_of=rule))

    def _receive_prior(self, incoming: ReceivedObject, rule: Rule | None) -> Receipt:
        receipt = self._take_prior(incoming, rule)
        if self._rules.now.moves_priors:
            with answering(), self._database.writing() as connection:
                note_arrival(connection, incoming.sop_instance_uid)
        return receipt

    def _take_prior(self, incoming: ReceivedObject, rule: Rule | None) -> Receipt:
        """An image that was fetched as a prior. It corrects nothing that is stored, and is never held."""
        if rule is None:
            return incoming.receipt("ignored", "this image does not fit the rule that asked for priors.")
        with answering(), self._database.reading() as connection:
            conflict = patient_conflict(connection, incoming)
            is_stored = self._content_hash_of(incoming.sop_instance_uid) is not None
        if is_stored:
            return incoming.receipt("duplicate", "an image with this UID was stored before.")
        if conflict is not None:
            return incoming.receipt("ignored", "the study of this image is stored under another patient.")
        incoming.file.commit(self._store.object_path(incoming.sha256))
        row = ObjectRecord(incoming=incoming, rule=rule, quiet_s=self._rules.now.quiet_s(rule))
        before = self._committer.commit(row)
        if before is not None:  # another image of this study or this very one was faster
            return incoming.receipt("ignored", "an image with this UID, or of another patient, was faster.")
        self._quota.add(incoming.file.size)
        return incoming.receipt("kept", f"stored by rule {rule.name}.")

    def _received_again(self, row: ObjectRecord, *, same: bool) -> Receipt:
        """An object whose UID is stored, with the same or with other content."""
        incoming, policy = row.incoming, row.conflicts
        comparison = "same" if same else self._compare(incoming)
        if comparison == "other":
            return self._quarantine(incoming, "other-content")
        if comparison == "same" and self._take_over(row):
            return incoming.receipt("kept", f"stored as a prior before; now by rule {row.rule.name}.")
        if same:
            self._restore(incoming)
            return incoming.receipt("duplicate", "this object was stored before.")
        if comparison == "same":
            return incoming.receipt("duplicate", "this image was stored before, in another encoding.")
        if policy == "archive":
            return incoming.receipt(
                "duplicate", "this image was stored before; its patient stays that of the archive."
            )
        if policy == "pacs":
            return self._hold(incoming, policy)
        if not self.replace(incoming, same=True, known_as_former=True):
            return incoming.receipt("duplicate", "this image was stored before its patient was corrected.")
        return incoming.receipt("kept", "the stored image and its study were corrected.")

    def replace(
        self, incoming: ReceivedObject, *, same: bool, known_as_former: bool = False, user: str = ""
    ) -> bool:
        """Put `incoming` in the place of the stored image with its UID, and its study under its patient.

        Args:
            same: True where the pixels are the same, so that the results hold.
            known_as_former: change nothing where the study was corrected away from this patient.
            user: the person who decided it.

        Returns:
            False where nothing was changed.
        """
        with answering(), self._database.writing() as connection:
            study = locked_study(connection, key_of(incoming.study_instance_uid))
            if study is None or (known_as_former and is_former(study, incoming.patient)):
                return False
            incoming.file.commit(self._store.object_path(incoming.sha256))
            before = patient_of_study(connection, study)
            replace_image(self._database, connection, study, incoming, same=same)
        record(correction_event(incoming, before, incoming.patient, user=user, detail="image"))
        self._committed()
        self.release_agreeing(study.key)
        return True

    def release_agreeing(self, study_key: str, conflicts: ConflictRule | None = None) -> None:
        """Take in what is held for a study, where it names the study's patient now, or a former one.

        Args:
            conflicts: as for `receive`; "archive" takes in all of it.
        """
        for digest, source in self._held(study_key):
            path = self._store.quarantine_path(digest)
            try:
                receipt = self.receive(path, source, conflicts)
            except (CxrserveError, OSError) as error:
                _log.warning("a held object could not be released: %s", type(error).__name__)
                continue
            if receipt.outcome in ("kept", "duplicate"):
                self.forget_quarantined(digest)
                record(
                    AuditEvent(
                        action="release",
                        detail="patient",
                        studies=(receipt.study_instance_uid,),
                        images=(receipt.sop_instance_uid,),
                    )
                )

    def release_all_agreeing(self) -> None:
        """Take in what is held for any study that was corrected: a process may have died before it did so."""
        query = (
            sa.select(QUARANTINE.c.study_key)
            .join(STUDIES, STUDIES.c.key == QUARANTINE.c.study_key)
            .where(QUARANTINE.c.reason == OTHER_PATIENT, STUDIES.c.corrected > 0)
            .distinct()
        )
        with answering(), self._database.reading() as connection:
            studies = list(connection.execute(query).scalars())
        for study in studies:
            self.release_agreeing(study)

    def _held(self, study_key: str) -> list[tuple[str, Source]]:
        """SHA-256 and source of each object that is held for a study, in the order they came."""
        query = (
            sa.select(QUARANTINE.c.sha256, QUARANTINE.c.protocol, QUARANTINE.c.calling_ae)
            .where(QUARANTINE.c.study_key == study_key, QUARANTINE.c.reason == OTHER_PATIENT)
            .order_by(QUARANTINE.c.received)
        )
        with answering(), self._database.reading() as connection:
            return [
                (digest, Source(protocol=protocol, calling_ae=calling_ae))
                for digest, protocol, calling_ae in connection.execute(query)
            ]

    def forget_quarantined(self, digest: str) -> None:
        """Delete a quarantined object: its row, then its file."""
        with answering(), self._database.writing() as connection:
            connection.execute(QUARANTINE.delete().where(QUARANTINE.c.sha256 == digest))
            self._database.touch(connection)
        self._store.quarantine_path(digest).unlink(missing_ok=True)

    def _content_hash_of(self, sop_instance_uid: str) -> str | None:
        """The content hash that is stored under this UID."""
        with self._database.reading() as connection:
            return connection.execute(
                sa.select(OBJECTS.c.content_sha256).where(OBJECTS.c.sop_instance_uid == sop_instance_uid)
            ).scalar()

    def _restore(self, incoming: ReceivedObject) -> None:
        """Restore the stored file from this duplicate if it is missing or damaged.

        The sender may delete the object once it is acknowledged.
        """
        with answering(), self._database.reading() as connection:
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
            incoming.file.commit(self._store.object_path(held))

    def _hold(self, incoming: ReceivedObject, policy: ConflictRule) -> Receipt:
        """Hold an object of another patient, and have the PACS asked where the rules say so."""
        receipt = self._quarantine(incoming, OTHER_PATIENT)
        if policy == "pacs":
            self._undecided(key_of(incoming.study_instance_uid))
        return receipt

    def _quarantine(self, incoming: ReceivedObject, reason: Reason) -> Receipt:
        incoming.file.commit(self._store.quarantine_path(incoming.sha256))
        with answering(), self._database.writing() as connection:
            self._database.insert_new(
                connection,
                QUARANTINE,
                sha256=incoming.sha256,
                sop_instance_uid=incoming.sop_instance_uid,
                protocol=incoming.source.protocol,
                calling_ae=incoming.source.calling_ae,
                received=self._database.now(),
                reason=reason,
                study_key=key_of(incoming.study_instance_uid),
            )
            self._database.touch(connection)
        outcome: Outcome = "held" if reason == OTHER_PATIENT else "quarantined"
        return incoming.receipt(outcome, _WHY_QUARANTINED[reason], reason)

    def close(self) -> None:
        """Commit what waits and stop. Idempotent."""
        self._committer.close()
