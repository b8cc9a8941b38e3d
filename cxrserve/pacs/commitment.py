"""Storage Commitment, Push Model (PS3.4 Annex J): requested by N-ACTION, answered by N-EVENT-REPORT.

A request is a job of the archive before it is acknowledged, so a restart loses none, and one that nobody
takes ends as a dead letter. The report goes out on a new association, to the address that the rules give for
the peer.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom.events import Event
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from cxrserve import dicom_status
from cxrserve.archive.archive import Archive
from cxrserve.archive.callers import caller_of
from cxrserve.archive.destination import CommitmentRequest, DeliveryError
from cxrserve.archive.peers import DimsePeer
from cxrserve.errors import CxrserveError
from cxrserve.imaging.dicom.identity import is_uid
from cxrserve.pacs.client import associated
from cxrserve.pacs.tls import peer_certificate
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.pacs")
ALL_KEPT, SOME_MISSING = 1, 2  # Event Type IDs: PS3.4 J.3.3
_REQUEST = 1  # Action Type ID: PS3.4 J.3.2
_MAX_OBJECTS: Final = 10_000


class CommitmentProvider:
    """Answers N-ACTION requests: queues a report for each, or refuses it."""

    def __init__(self, archive: Archive) -> None:
        self._archive: Final = archive

    def on_action(self, event: Event) -> tuple[int, Dataset | None]:
        """Handle an N-ACTION-RQ; its status."""
        peer = event.assoc.requestor
        title = str(peer.ae_title).strip()
        certificate = peer_certificate(getattr(event.assoc.dul.socket, "socket", None))
        caller = caller_of(self._archive.rules.callers, title, str(peer.address), certificate)
        if event.action_type != _REQUEST:
            return dicom_status.NO_SUCH_ACTION, None
        if caller is None or caller.reports_to is None:
            _log.warning(
                "a storage commitment from %s was refused: the rules have no reports_to", peer.address
            )
            return dicom_status.NOT_AUTHORIZED, None
        try:
            transaction_uid, objects = _read(event.action_information)
        except Exception:  # whatever pydicom finds wrong with it
            return dicom_status.INVALID_ARGUMENT_VALUE, None
        reports_to = caller.reports_to
        request = CommitmentRequest(
            ae_title=title,
            host=reports_to.host,
            port=reports_to.port,
            tls=reports_to.tls,
            transaction_uid=transaction_uid,
            objects=objects,
        )
        try:
            self._archive.request_commitment(request)
        except CxrserveError as error:
            _log.warning("a storage commitment was not queued: %s", error.detail)
            return dicom_status.PROCESSING_FAILURE, None
        return dicom_status.SUCCESS, None


class ReportSender:
    """Sends reports of Storage Commitment, each on an association of its own. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._calling_ae: Final = settings.dicom_ae_title
        self._timeout_s: Final = settings.dicom_accept_timeout_s

    def report(self, request: CommitmentRequest, missing: Collection[str]) -> None:
        """As `CommitmentReporter`."""
        information, event_type = _event_information(request, missing)
        peer = DimsePeer(
            protocol="dimse",
            ae_title=request.ae_title,
            host=request.host,
            port=request.port,
            tls=request.tls,
            timeout_s=self._timeout_s,
        )
        context = build_context(StorageCommitmentPushModel)
        # We request the association, and yet are the SCP: PS3.4 J.3.3
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        with associated(peer, [context], self._calling_ae, roles=[role]) as association:
            status, _ = association.send_n_event_report(
                information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        if status.get("Status") != dicom_status.SUCCESS:
            raise DeliveryError(f"{peer.ae_title} did not accept an N-EVENT-REPORT.", retryable=True)


def _event_information(request: CommitmentRequest, missing: Collection[str]) -> tuple[Dataset, int]:
    """Event Information and Event Type ID: PS3.4 J.3.3.1."""
    stored: list[Dataset] = []
    failed: list[Dataset] = []
    for sop_class, sop_instance in request.objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        if sop_instance in missing:
            item.FailureReason = dicom_status.NO_SUCH_SOP_INSTANCE
            failed.append(item)
        else:
            stored.append(item)
    information = Dataset()
    information.TransactionUID = request.transaction_uid
    if stored:
        information.ReferencedSOPSequence = stored
    if failed:
        information.FailedSOPSequence = failed
    return information, SOME_MISSING if failed else ALL_KEPT


def _read(information: Dataset) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Transaction UID, and SOP Class and Instance UID of each object.

    Raises:
        ValueError: a value is missing or no UID, or there are too many objects.
    """
    transaction, objects = str(information.TransactionUID), tuple(_referenced(information))
    if not is_uid(transaction) or not objects:
        raise ValueError("no transaction, or no objects")
    return transaction, objects


def _referenced(information: Dataset) -> Iterator[tuple[str, str]]:
    items = information.ReferencedSOPSequence
    if len(items) > _MAX_OBJECTS:
        raise ValueError("too many objects")
    for item in items:
        uids = str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)
        if not all(map(is_uid, uids)):
            raise ValueError("no UID")
        yield uids
