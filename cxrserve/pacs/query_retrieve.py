"""C-FIND and C-MOVE of the Study Root model as a user (PS3.4 C.4.1, C.4.2)."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import DimsePeer

_FIND: Final = UID("1.2.840.10008.5.1.4.1.2.2.1")  # Study Root; PS3.4 C.6.2.1
_MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.2.2")
_PENDING: Final = (0xFF00, 0xFF01)  # PS3.4 Table C.4-1
_UNKNOWN_DESTINATION: Final = 0xA801  # PS3.4 Table C.4-2
_MAX_MATCHES: Final = 1000


def find_contexts() -> list[PresentationContext]:
    """Proposed by an association for `find`."""
    return [build_context(_FIND)]


def find_and_move_contexts() -> list[PresentationContext]:
    """Proposed by an association for `find` and `move`."""
    return [build_context(_FIND), build_context(_MOVE)]


def find(association: Association, peer: DimsePeer, query: Dataset) -> list[Dataset]:
    """All matches of `query`.

    Raises:
        DeliveryError: the peer does not accept C-FIND, gives no answer or an error, or more matches than any
            query here can have; without patient data.
    """
    _check_accepts(association, peer, _FIND, "C-FIND")
    matches: list[Dataset] = []
    for answer, match in association.send_c_find(query, _FIND):
        status = _status(answer, peer, "C-FIND")
        if status not in (*_PENDING, 0):
            raise DeliveryError(
                f"{peer.ae_title} answered {status:04X}H to a C-FIND. Its log says why.", retryable=True
            )
        if status in _PENDING and match is not None:
            matches.append(match)
        if len(matches) > _MAX_MATCHES:
            association.abort()  # it would go on
            raise DeliveryError(
                f"{peer.ae_title} gives more than {_MAX_MATCHES} matches for one patient or one study.",
                retryable=False,
            )
    return matches


def move(association: Association, peer: DimsePeer, what: Dataset, destination: str) -> None:
    """Have the peer send what the unique keys in `what` name to the AE title `destination`.

    Some peers answer before they have sent it.

    Raises:
        DeliveryError: the peer does not accept C-MOVE, does not know `destination`, gives no answer, or did
            not send all of it; without patient data.
    """
    _check_accepts(association, peer, _MOVE, "C-MOVE")
    for answer, _ in association.send_c_move(what, destination, _MOVE):
        status = _status(answer, peer, "C-MOVE")
        if status == _UNKNOWN_DESTINATION:
            raise DeliveryError(
                f"{peer.ae_title} does not know {destination}, to which it is asked to send (A801H). Enter "
                "this AE title there, with this station's address and DICOM port.",
                retryable=True,
            )
        if status not in (*_PENDING, 0):
            raise DeliveryError(
                f"{peer.ae_title} answered {status:04X}H to a C-MOVE to {destination}: it did not send "
                "everything. Its log says why; this station's log has a line for each object that came.",
                retryable=True,
            )


def _check_accepts(association: Association, peer: DimsePeer, syntax: UID, service: str) -> None:
    if not association.is_established:
        raise DeliveryError(
            f"{peer.ae_title} has ended the association before a {service}. Its log says why.",
            retryable=True,
        )
    if syntax not in [context.abstract_syntax for context in association.accepted_contexts]:
        raise DeliveryError(
            f"{peer.ae_title} does not accept Study Root {service}. Enable it there.", retryable=False
        )


def _status(answer: Dataset, peer: DimsePeer, service: str) -> int:
    status: int | None = answer.get("Status")
    if status is None:
        raise DeliveryError(
            f"{peer.ae_title} gave no answer to a {service}. Its log says why.", retryable=True
        )
    return status
