"""Storage Commitment, Push Model (PS3.4 Annex J): asked by N-ACTION, answered by N-EVENT-REPORT.

A request is on disk before it is acknowledged, and goes from there only when its report has arrived: a
restart loses none. The report goes out on a new association, to where the rules say that the peer listens.
Nodes that share an archive share its requests too: each is locked while a node is at it, so that one reports
it, and where that node dies, another does.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom.events import Event
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from cxrserve.archive.archive import Archive
from cxrserve.archive.callers import caller_of
from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.rules import DimsePeer, Rules
from cxrserve.imaging.dicom import is_uid
from cxrserve.pacs.client import associated
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.pacs")
SUCCESS, PROCESSING_FAILURE, NOT_AUTHORIZED = 0x0000, 0x0110, 0x0124  # PS3.7 Annex C
NO_SUCH_ACTION, INVALID_ARGUMENT = 0x0123, 0x0115
NO_SUCH_INSTANCE = 0x0112  # Failure Reason: PS3.3 C.14.1.1
ALL_KEPT, SOME_MISSING = 1, 2  # Event Type IDs: PS3.4 J.3.3
_REQUEST = 1  # Action Type ID: PS3.4 J.3.2
_MOST_OBJECTS: Final = 10_000
_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 300.0
_GIVE_UP_S: Final = 7 * 86_400.0
_LOOK_S: Final = 60.0  # for requests that another node has left


class Commitments:
    """Requests that wait for their reports, and the thread that sends them."""

    def __init__(self, settings: Settings, archive: Archive, rules: Rules) -> None:
        self._archive: Final = archive
        self._rules: Final = rules
        self._calling_ae: Final = settings.dicom_ae_title
        self._timeout_s: Final = settings.dicom_accept_timeout_s
        self._folder: Final = (settings.archive or Path()) / "commitments"
        self._wake: Final = threading.Event()
        self._closing: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="commitments", daemon=True)

    def start(self) -> None:
        """Begin to send, with what an earlier process has left."""
        self._folder.mkdir(exist_ok=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the report that is being sent. Idempotent."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2 * self._timeout_s)

    def on_action(self, event: Event) -> tuple[int, Dataset | None]:
        """Answer an N-ACTION-RQ: note the request, or say why not."""
        peer = event.assoc.requestor
        title = str(peer.ae_title).strip()
        caller = caller_of(self._rules.callers, title, str(peer.address))
        if event.action_type != _REQUEST:
            return NO_SUCH_ACTION, None
        if caller is None or caller.reports_to is None:
            _log.warning(
                "a storage commitment from %s was refused: the rules have no reports_to", peer.address
            )
            return NOT_AUTHORIZED, None
        try:
            transaction, objects = _read(event.action_information)
        except Exception:  # whatever pydicom finds wrong with it
            return INVALID_ARGUMENT, None
        try:
            self._note(
                {
                    "ae": title,
                    "transaction": transaction,
                    "objects": objects,
                    **caller.reports_to.model_dump(mode="json"),
                }
            )
        except OSError:
            _log.exception("a storage commitment could not be noted")
            return PROCESSING_FAILURE, None
        self._wake.set()
        return SUCCESS, None

    def _note(self, request: dict[str, Any]) -> None:
        path = self._folder / f"{uuid.uuid4()}.json"
        with path.with_suffix(".part").open("w") as file:
            json.dump({**request, "since": time.time()}, file)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".part").rename(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            self._wake.clear()
            left = [path for path in sorted(self._folder.glob("*.json")) if not self._settled(path)]
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S) if left else _FIRST_PAUSE_S
            self._wake.wait(pause_s if left else _LOOK_S)

    def _settled(self, path: Path) -> bool:
        """As `_reported`, or another node is at it; whatever goes wrong with one, the others are reported."""
        try:
            with _claimed(path) as mine:
                return not mine or self._reported(path)
        except Exception as error:  # the database is away, the disk is read-only: it may pass
            _log.warning("a storage commitment waits: %s", type(error).__name__)
            return False

    def _reported(self, path: Path) -> bool:
        """True where the request needs nothing more."""
        try:
            request = dict(json.loads(path.read_text()))
        except ValueError:  # what was written was fsynced, so the disk has changed it
            _log.error("a storage commitment is damaged on disk, and set aside as %s", path.stem)
            path.rename(path.with_suffix(".damaged"))
            return True
        try:
            self._report(request)
        except DeliveryError as error:
            if self._closing.is_set() or time.time() - request["since"] < _GIVE_UP_S:
                return False
            _log.error("a storage commitment was given up: %s", error.detail)
        path.unlink(missing_ok=True)
        return True

    def _report(self, request: dict[str, Any]) -> None:
        information, event_type = self._information(request["transaction"], request["objects"])
        peer = DimsePeer(
            protocol="dimse",
            ae_title=request["ae"],
            host=request["host"],
            port=request["port"],
            tls=request.get("tls"),
            timeout_s=self._timeout_s,
        )
        context = build_context(StorageCommitmentPushModel)
        # We request the association, and yet are the SCP: PS3.4 J.3.3
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        with associated(peer, [context], self._calling_ae, roles=[role]) as association:
            status, _ = association.send_n_event_report(
                information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        if status.get("Status") != SUCCESS:
            raise DeliveryError(f"{peer.ae_title} did not take an N-EVENT-REPORT.", retryable=True)

    def _information(self, transaction: str, objects: list[list[str]]) -> tuple[Dataset, int]:
        """Event Information and Event Type ID: PS3.4 J.3.3.1."""
        kept: list[Dataset] = []
        missing: list[Dataset] = []
        for sop_class, sop_instance in objects:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
            if self._archive.has(sop_instance, sop_class):
                kept.append(item)
            else:
                item.FailureReason = NO_SUCH_INSTANCE
                missing.append(item)
        information = Dataset()
        information.TransactionUID = transaction
        if kept:
            information.ReferencedSOPSequence = kept
        if missing:
            information.FailedSOPSequence = missing
        return information, SOME_MISSING if missing else ALL_KEPT


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """True while no other node is at the request `path`, nor will be; False where one is, or was faster.

    The lock ends with the process, however that ends: no claim is ever orphaned.
    """
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield path.exists()


def _read(information: Dataset) -> tuple[str, list[list[str]]]:
    """Transaction UID, and SOP Class and Instance UID of each object.

    Raises:
        ValueError: something is missing, is no UID, or too much.
    """
    transaction, objects = str(information.TransactionUID), list(_referenced(information))
    if not is_uid(transaction) or not objects:
        raise ValueError("no transaction, or no objects")
    return transaction, objects


def _referenced(information: Dataset) -> Iterator[list[str]]:
    items = information.ReferencedSOPSequence
    if len(items) > _MOST_OBJECTS:
        raise ValueError("too many objects")
    for item in items:
        uids = [str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)]
        if not all(map(is_uid, uids)):
            raise ValueError("no UID")
        yield uids
