"""Where results go: a C-STORE or a STOW-RS peer for each destination that the rules name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from cxrserve.archive.destination import DeliveryError, Destination
from cxrserve.archive.rules import DimsePeer, Peer
from cxrserve.pacs.client import associated
from cxrserve.pacs.web import DUPLICATE, NEVER, WebDestination

_UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_WARNINGS: Final = range(0xB000, 0xC000)  # stored, with something changed


def destinations_of(peers: Mapping[str, Peer], calling_ae: str) -> dict[str, Destination]:
    """A destination for each of `peers`, by the rules' names. Nothing is sent yet.

    Raises:
        ConfigurationError: a file of TLS, token or password cannot be used.
    """
    return {
        name: StoreDestination(peer, calling_ae) if isinstance(peer, DimsePeer) else WebDestination(peer)
        for name, peer in peers.items()
    }


class StoreDestination:
    """C-STORE SCU: all objects over one association."""

    def __init__(self, peer: DimsePeer, calling_ae: str) -> None:
        self._peer: Final = peer
        self._calling_ae: Final = calling_ae

    def send(self, objects: Sequence[Path]) -> None:
        """Send the Part 10 files `objects`.

        Raises:
            DeliveryError: of the first that was not taken. One that the peer will never take holds up none
                of the others: where presentation states are unknown, the report arrives all the same.
        """
        datasets = [dcmread(path) for path in objects]
        refused: DeliveryError | None = None
        with associated(self._peer, _contexts(datasets), self._calling_ae) as association:
            for message_id, dataset in enumerate(datasets, 1):
                try:
                    self._send(association, dataset, message_id)
                except DeliveryError as error:
                    if error.retryable:
                        raise
                    refused = refused or error
        if refused is not None:
            raise refused

    def _send(self, association: Association, dataset: Dataset, message_id: int) -> None:
        title, kind = self._peer.ae_title, dataset.SOPClassUID.name
        if not association.is_established:
            raise DeliveryError(f"{title} ended the association.", retryable=True)
        try:
            answer = association.send_c_store(dataset, msg_id=message_id)
        except ValueError as error:  # no presentation context
            raise DeliveryError(
                f"{title} does not take {kind}. Have it enabled there.", retryable=False
            ) from error
        status = answer.get("Status")
        if status is None:
            raise DeliveryError(
                f"{title} did not answer a C-STORE within {self._peer.timeout_s:g} s.", retryable=True
            )
        if status not in (0, DUPLICATE) and status not in _WARNINGS:
            raise DeliveryError(
                f"{title} answered {status:04X}H to a C-STORE of {kind}. Its log says why.",
                retryable=status not in NEVER,
            )


def _contexts(datasets: Iterable[Dataset]) -> list[PresentationContext]:
    """One context for each kind of object: as it is, or uncompressed where it is."""
    kinds = {(each.SOPClassUID, each.file_meta.TransferSyntaxUID) for each in datasets}
    return [
        build_context(sop_class, list(_UNCOMPRESSED) if syntax in _UNCOMPRESSED else [syntax])
        for sop_class, syntax in sorted(kinds)
    ]
