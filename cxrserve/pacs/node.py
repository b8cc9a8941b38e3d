"""The DICOM node: Verification, Storage and Storage Commitment as SCP, on one port."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Final, Self

from pydicom.dataset import Dataset
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.events import Event

from cxrserve import dicom_status
from cxrserve.archive.archive import Archive
from cxrserve.archive.callers import Caller, caller_of
from cxrserve.errors import ConfigurationError
from cxrserve.imaging.limits import Limits
from cxrserve.loopback import is_loopback
from cxrserve.metrics import Metrics
from cxrserve.pacs.association_server import AssociationServer
from cxrserve.pacs.commitment import CommitmentProvider
from cxrserve.pacs.connection import WireLimits
from cxrserve.pacs.presentation_contexts import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    offered_contexts,
)
from cxrserve.pacs.rejections import Rejections
from cxrserve.pacs.storage import begin, store
from cxrserve.pacs.tls import node_tls, peer_certificate
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.pacs")
# A-ASSOCIATE-RJ: permanent, by the service user, calling AE title not recognised. PS3.8 9.3.4
_REJECT_CALLER: Final = (0x01, 0x01, 0x03)
_POLL_S: Final = 0.1


class Node:
    """The DICOM node; listens from its construction on. A context manager.

    Raises on construction:
        ConfigurationError: the address cannot be bound, the TLS files cannot be used, or the rules name no
            callers although other machines reach the port.
    """

    def __init__(self, settings: Settings, archive: Archive, metrics: Metrics) -> None:
        _config.LOG_HANDLER_LEVEL = "none"  # its standard handlers log data sets, patients included
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        self._settings: Final = settings
        self._archive: Final = archive
        self._limits: Final = Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels)
        self._commitments: Final = CommitmentProvider(archive)
        self._rejections: Final = Rejections(settings.dicom_ae_title, metrics.dicom_rejections)
        self._server: Final = self._listen()
        self._thread: Final = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": _POLL_S},
            name="dicom-node",
            daemon=True,
        )
        self._thread.start()

    def _listen(self) -> AssociationServer:
        settings = self._settings
        entity = ApplicationEntity(settings.dicom_ae_title)
        entity.supported_contexts = offered_contexts()
        entity.require_called_aet = True
        entity.maximum_pdu_size = settings.dicom_max_pdu_bytes
        entity.maximum_associations = 2 * settings.dicom_max_associations  # the server counts
        entity.acse_timeout = entity.dimse_timeout = settings.dicom_accept_timeout_s
        entity.network_timeout = settings.dicom_idle_timeout_s
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        _check_callers(settings, self._archive.rules.callers)
        tls = node_tls(settings)
        try:
            return AssociationServer(
                entity,
                (settings.host, settings.dicom_port),
                [
                    (evt.EVT_REQUESTED, self._on_requested),
                    (evt.EVT_REJECTED, self._rejections.on_rejected),
                    (evt.EVT_ACCEPTED, self._rejections.on_accepted),
                    (evt.EVT_C_ECHO, lambda event: dicom_status.SUCCESS),
                    (evt.EVT_C_STORE, self._on_store),
                    (evt.EVT_N_ACTION, self._commitments.on_action),
                ],
                tls=tls,
                limits=WireLimits(
                    max_pdu_bytes=settings.dicom_max_pdu_bytes,
                    max_object_bytes=settings.max_upload_bytes,
                    max_incoming_bytes=max(settings.dicom_receive_bytes, settings.max_upload_bytes),
                    pdu_timeout_s=settings.dicom_idle_timeout_s,
                ),
                max_associations=settings.dicom_max_associations,
                max_per_address=settings.dicom_max_associations_per_address
                or -(-settings.dicom_max_associations // 2),
                accept_timeout_s=settings.dicom_accept_timeout_s,
                on_rejected=self._rejections.count,
                begin=lambda association, announced: begin(association, self._archive, announced),
            )
        except OSError as error:
            raise ConfigurationError(
                f"the DICOM node cannot listen on {settings.host}:{settings.dicom_port}: {error.strerror}. "
                "Set CXRSERVE_DICOM_PORT to a free port."
            ) from error

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._server.port

    def open_associations(self) -> int:
        """The number of open associations."""
        return len(self._server.active_associations)

    def _on_requested(self, event: Event) -> None:
        """Reject callers that the rules do not name; pynetdicom checks the called AE title."""
        peer = event.assoc.requestor
        callers = self._archive.rules.callers
        request = peer.primitive
        title = "" if request is None else str(request.calling_ae_title).strip()
        certificate = peer_certificate(getattr(event.assoc.dul.socket, "socket", None))
        is_known = caller_of(callers, title, str(peer.address), certificate) is not None
        if not is_known and (callers or not is_loopback(self._settings.host)):
            self._rejections.on_caller(event)
            event.assoc.acse.send_reject(*_REJECT_CALLER)
            event.assoc.kill()

    def _on_store(self, event: Event) -> Dataset:
        return store(event, self._archive, self._limits)

    def stop_accepting(self) -> None:
        """Close the port; open associations continue."""
        if self._thread.is_alive():
            self._server.shutdown()

    def close(self) -> None:
        """Close the port, wait `shutdown_timeout_s` for open associations, then abort them. Idempotent."""
        self.stop_accepting()
        until = time.monotonic() + self._settings.shutdown_timeout_s
        while self._server.active_associations and time.monotonic() < until:
            time.sleep(_POLL_S)
        for association in self._server.active_associations:
            association.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_callers(settings: Settings, callers: tuple[Caller, ...]) -> None:
    """Check that the rules say who may send, if other machines reach the port.

    Raises:
        ConfigurationError: they do not, or they name certificates that no caller would have to show.
    """
    if not callers and not is_loopback(settings.host):
        raise ConfigurationError(
            f"the DICOM node on {settings.host} would accept every caller. Name the callers in the rules "
            "(CXRSERVE_RULES), by AE title and address."
        )
    if settings.dicom_tls_ca is None and any(caller.certificates for caller in callers):
        raise ConfigurationError(
            "the rules name certificates of callers, but the node does not ask for any. Set "
            "CXRSERVE_DICOM_TLS_CA."
        )
