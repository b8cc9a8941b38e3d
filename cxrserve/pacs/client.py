"""Outgoing associations, with a timeout on every step and the same limits on PDUs as incoming ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import DimsePeer
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.errors import UnsupportedImage
from cxrserve.pacs.connection import Connection, DimseProvider, PduReader, WireLimits
from cxrserve.pacs.incoming_datasets import ByteBudget, CStoreCommand, IncomingDatasets
from cxrserve.pacs.presentation_contexts import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from cxrserve.pacs.tls import client_context

_TIMEOUT_S: Final = 60.0
_MAX_PDU_BYTES: Final = 2**17


@contextmanager
def associated(
    peer: DimsePeer,
    contexts: list[PresentationContext],
    calling_ae: str,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """Request an association with `peer`; it is released at the end of the block.

    Raises:
        DeliveryError: nobody listens, the handshake fails, the peer rejects the association, or does not
            answer within `peer.timeout_s`.
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
            evt_handlers=[(evt.EVT_CONN_OPEN, _limit)],
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


def _limit(event: Event) -> None:
    """Put our socket in the place of pynetdicom's, which reads PDUs of 4 GB and waits without limit."""
    association = event.assoc
    connection = association.dul.socket
    if connection is None or connection.socket is None:
        return
    timeout_s = association.network_timeout or _TIMEOUT_S
    limits = WireLimits(
        max_pdu_bytes=association.requestor.maximum_length or _MAX_PDU_BYTES,
        max_object_bytes=0,
        max_incoming_bytes=0,
        pdu_timeout_s=timeout_s,
    )
    incoming = IncomingDatasets(ByteBudget(0))
    incoming.begin = _refuse
    reader = PduReader(connection.socket, limits, incoming)
    association.dul.socket = Connection(
        association, connection.socket, reader, None, association.acceptor.address or "", timeout_s
    )
    association.dimse = DimseProvider(association, incoming)


def _refuse(command: CStoreCommand) -> IncomingFile:
    raise UnsupportedImage("this node takes objects on its own port only.")


def _not_established(association: Association, peer: DimsePeer) -> DeliveryError:
    if refused := association.rejected_contexts:  # and none was accepted
        kinds = ", ".join(sorted({UID(context.abstract_syntax or "").name for context in refused}))
        return DeliveryError(
            f"{peer.ae_title} does not accept {kinds}. Enable these SOP classes there.", retryable=False
        )
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return DeliveryError(
            f"{peer.ae_title} rejected the association: {answer.reason_str}. Check the AE titles.",
            retryable=True,  # an administrator may enter the title meanwhile
        )
    return DeliveryError(
        f"{peer.ae_title} at {peer.host}:{peer.port} did not accept an association. Is it running?",
        retryable=True,
    )
