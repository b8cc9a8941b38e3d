"""Destinations of results: a client of its protocol for each destination in the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from cxrserve import dicom_status
from cxrserve.archive.destination import DeliveryError, Destination
from cxrserve.archive.peers import DimsePeer, FhirPeer, Hl7Peer, Peer, WebPeer
from cxrserve.pacs.client import associated
from cxrserve.pacs.fhir_destination import FhirDestination
from cxrserve.pacs.hl7_destination import Hl7Destination
from cxrserve.pacs.transcoding import contexts_for, in_accepted_form, reference_to
from cxrserve.pacs.web import NEVER, WebDestination
from cxrserve.reports.dicom.objects import Reference

# A duplicate: an earlier try had arrived. UIDs of results are made from their bytes, so the peer's object
# with this UID is this very object.
_DELIVERED: Final = (
    dicom_status.SUCCESS,
    dicom_status.DUPLICATE_SOP_INSTANCE,
    *dicom_status.WARNINGS,
)


def destinations_of(peers: Mapping[str, Peer], calling_ae: str) -> dict[str, Destination]:
    """A destination for each of `peers`, by its name in the rules. Sends nothing yet.

    Raises:
        ConfigurationError: a file of TLS, token or password cannot be used.
    """
    return {name: _destination(peer, calling_ae) for name, peer in peers.items()}


def _destination(peer: Peer, calling_ae: str) -> Destination:
    match peer:
        case DimsePeer():
            return StoreDestination(peer, calling_ae)
        case WebPeer():
            return WebDestination(peer)
        case Hl7Peer():
            return Hl7Destination(peer)
        case FhirPeer():
            return FhirDestination(peer)


class StoreDestination:
    """C-STORE SCU: all objects over one association."""

    def __init__(self, peer: DimsePeer, calling_ae: str) -> None:
        self._peer: Final = peer
        self._calling_ae: Final = calling_ae

    def send(self, objects: Sequence[Path]) -> Sequence[Reference]:
        """Send the Part 10 files `objects`; returns the objects as they were sent.

        Raises:
            DeliveryError: an object was not accepted; the detail names each kind. The others are sent all the
                same: where a peer does not know presentation states, the report arrives.
        """
        datasets = [dcmread(path) for path in objects]
        refusals: list[str] = []
        stored: list[Reference] = []
        contexts = contexts_for(datasets, self._peer.report_class)
        with associated(self._peer, contexts, self._calling_ae) as association:
            accepted = {
                (context.abstract_syntax, context.transfer_syntax[0])
                for context in association.accepted_contexts
            }
            for message_id, dataset in enumerate(datasets, 1):
                kind = dataset.SOPClassUID.name
                form = in_accepted_form(dataset, lambda *pair: pair in accepted, self._peer.report_class)
                if form is None:
                    refusals.append(
                        f"{self._peer.ae_title} does not accept {kind}. Enable this SOP class there."
                    )
                    continue
                status = self._send(association, form, message_id)
                if status in NEVER:
                    refusals.append(
                        f"{self._peer.ae_title} answered {status:04X}H to a C-STORE of {kind}. "
                        "Its log says why."
                    )
                    continue
                stored.append(reference_to(form))
        if refusals:
            raise DeliveryError(" ".join(dict.fromkeys(refusals)), retryable=False)
        return stored

    def _send(self, association: Association, dataset: Dataset, message_id: int) -> int:
        """The status of an object that was stored, or that the peer will never store.

        Raises:
            DeliveryError: another try may succeed.
        """
        title, kind = self._peer.ae_title, dataset.SOPClassUID.name
        if not association.is_established:
            raise DeliveryError(f"{title} ended the association.", retryable=True)
        status = association.send_c_store(dataset, msg_id=message_id).get("Status")
        if status is None:
            raise DeliveryError(
                f"{title} did not answer a C-STORE within {self._peer.timeout_s:g} s.", retryable=True
            )
        if status not in (*_DELIVERED, *NEVER):
            raise DeliveryError(
                f"{title} answered {status:04X}H to a C-STORE of {kind}. Its log says why.", retryable=True
            )
        return int(status)
