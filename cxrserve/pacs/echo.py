"""Connection check of a peer: C-ECHO, or a search for at most one study or workitem."""

from __future__ import annotations

import time

import requests
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import DimsePeer, FhirPeer, Hl7Peer, Peer, WorklistPeer
from cxrserve.pacs.client import associated
from cxrserve.pacs.fhir_destination import read_capabilities
from cxrserve.pacs.hl7_destination import connect
from cxrserve.pacs.web import translated, web_client
from cxrserve.pacs.worklist_manager import UpsManager


def echo(peer: Peer | WorklistPeer, calling_ae: str) -> float:
    """Milliseconds until `peer` answered.

    Raises:
        DeliveryError: it did not answer, or with an error.
    """
    started = time.perf_counter()
    if isinstance(peer, Hl7Peer):
        connect(peer).close()
    elif isinstance(peer, FhirPeer):
        read_capabilities(peer)
    elif isinstance(peer, WorklistPeer):
        UpsManager(peer, {}, {}, calling_ae, max_bytes=0).check()
    elif isinstance(peer, DimsePeer):
        with associated(peer, [build_context(Verification)], calling_ae) as association:
            status = association.send_c_echo().get("Status")
        if status != 0:
            raise DeliveryError(f"{peer.ae_title} did not answer the C-ECHO with success.", retryable=True)
    else:
        try:
            web_client(peer).search_for_studies(limit=1)
        except (requests.RequestException, OSError) as error:
            raise translated(error, peer) from error
    return (time.perf_counter() - started) * 1000
