"""Associations that we request: one way in for every SCU, with an end to every wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.rules import DimsePeer
from cxrserve.pacs.offers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from cxrserve.pacs.tls import client_context


@contextmanager
def associated(
    peer: DimsePeer,
    contexts: list[PresentationContext],
    calling_ae: str,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """An established association with `peer`; released at the end of the block.

    Raises:
        DeliveryError: nobody listens, the handshake fails, or the peer rejects it. One that does not answer
            within `peer.timeout_s` is given up.
    """
    _config.LOG_HANDLER_LEVEL = "none"  # its standard handlers log data sets, patients included
    entity = ApplicationEntity(calling_ae)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = peer.timeout_s
    entity.connection_timeout = peer.timeout_s
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    tls = None if peer.tls is None else (client_context(peer.tls), peer.host)
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            tls_args=tls,
            ext_neg=list(roles),
            evt_handlers=[(evt.EVT_CONN_OPEN, _limit_waiting)],
        )
    except OSError as error:  # the name cannot be resolved
        raise DeliveryError(
            f"{peer.host} cannot be reached: {error.strerror}. Check host and network.", retryable=True
        ) from error
    if not association.is_established:
        raise _not_established(association, peer)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _limit_waiting(event: Event) -> None:
    """pynetdicom waits for ever for a peer that does not read what it is sent."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.settimeout(event.assoc.network_timeout)


def _not_established(association: Association, peer: DimsePeer) -> DeliveryError:
    if refused := association.rejected_contexts:  # and none was accepted
        kinds = ", ".join(sorted({UID(each.abstract_syntax or "").name for each in refused}))
        return DeliveryError(
            f"{peer.ae_title} does not take {kinds}. Have it enabled there.", retryable=False
        )
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return DeliveryError(
            f"{peer.ae_title} rejected the association: {answer.reason_str}. Check the AE titles.",
            retryable=True,  # a title that is not known yet may be entered while we wait
        )
    return DeliveryError(
        f"{peer.ae_title} at {peer.host}:{peer.port} did not accept an association. Is it running?",
        retryable=True,
    )
