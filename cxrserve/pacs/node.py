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

from cxrserve.archive.archive import Archive
from cxrserve.archive.callers import caller_of
from cxrserve.archive.rules import Rules
from cxrserve.errors import ConfigurationError
from cxrserve.imaging.limits import Limits
from cxrserve.pacs.commitment import Commitments
from cxrserve.pacs.connection import WireLimits
from cxrserve.pacs.door import Door
from cxrserve.pacs.offers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, offered_contexts
from cxrserve.pacs.storage import begin, store
from cxrserve.pacs.tls import server_context
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.pacs")
# A-ASSOCIATE-RJ: permanent, by the service user, calling AE title not recognised. PS3.8 9.3.4
_REJECT_CALLER: Final = (0x01, 0x01, 0x03)
_POLL_S: Final = 0.1


class Node:
    """A node that listens from its construction on; a context manager.

    Raises on construction:
        ConfigurationError: the address cannot be bound, or the TLS files cannot be used.
    """

    def __init__(self, settings: Settings, archive: Archive, rules: Rules) -> None:
        _config.LOG_HANDLER_LEVEL = "none"  # its standard handlers log data sets, patients included
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        self._settings: Final = settings
        self._rules: Final = rules
        self._archive: Final = archive
        self._limits: Final = Limits(max_pixels=settings.max_pixels, min_side_pixels=settings.min_side_pixels)
        self._commitments: Final = Commitments(settings, archive, rules)
        self._door: Final = self._opened()
        self._thread: Final = threading.Thread(
            target=self._door.serve_forever, kwargs={"poll_interval": _POLL_S}, name="dicom-node", daemon=True
        )
        self._thread.start()
        self._commitments.start()

    def _opened(self) -> Door:
        settings = self._settings
        entity = ApplicationEntity(settings.dicom_ae_title)
        entity.supported_contexts = offered_contexts()
        entity.require_called_aet = True
        entity.maximum_pdu_size = settings.dicom_max_pdu_bytes
        entity.maximum_associations = 2 * settings.dicom_max_associations  # the door counts, and says so
        entity.acse_timeout = entity.dimse_timeout = settings.dicom_accept_timeout_s
        entity.network_timeout = settings.dicom_idle_timeout_s
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        tls = server_context(settings)
        try:
            return Door(
                entity,
                (settings.host, settings.dicom_port),
                [
                    (evt.EVT_REQUESTED, self._on_requested),
                    (evt.EVT_C_ECHO, lambda event: 0x0000),
                    (evt.EVT_C_STORE, self._on_store),
                    (evt.EVT_N_ACTION, self._commitments.on_action),
                ],
                tls=tls,
                limits=WireLimits(
                    most_pdu_bytes=settings.dicom_max_pdu_bytes,
                    most_object_bytes=settings.max_upload_bytes,
                    most_arriving_bytes=max(settings.dicom_receive_bytes, settings.max_upload_bytes),
                    pdu_timeout_s=settings.dicom_idle_timeout_s,
                ),
                most_associations=settings.dicom_max_associations,
                patience_s=settings.dicom_accept_timeout_s,
                begin=lambda association, announced: begin(association, self._archive, announced),
            )
        except OSError as error:
            raise ConfigurationError(
                f"the DICOM node cannot listen on {settings.host}:{settings.dicom_port}: {error.strerror}. "
                "Set CXRSERVE_DICOM_PORT to a free one."
            ) from error

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._door.port

    def open_associations(self) -> int:
        """How many associations are open."""
        return len(self._door.active_associations)

    def _on_requested(self, event: Event) -> None:
        """Reject peers that no rule names. (The called AE title is checked by pynetdicom.)"""
        peer = event.assoc.requestor
        callers = self._rules.callers
        request = peer.primitive
        title = "" if request is None else str(request.calling_ae_title).strip()
        if callers and caller_of(callers, title, str(peer.address)) is None:
            _log.warning("an association from %s was rejected: no rule names that caller", peer.address)
            event.assoc.acse.send_reject(*_REJECT_CALLER)
            event.assoc.kill()

    def _on_store(self, event: Event) -> Dataset:
        return store(event, self._archive, self._limits)

    def stop_accepting(self) -> None:
        """Close the port; open associations go on."""
        if self._thread.is_alive():
            self._door.shutdown()

    def close(self) -> None:
        """Close the port, give open associations `shutdown_timeout_s`, then end them. Idempotent."""
        self.stop_accepting()
        until = time.monotonic() + self._settings.shutdown_timeout_s
        while self._door.active_associations and time.monotonic() < until:
            time.sleep(_POLL_S)
        for association in self._door.active_associations:
            association.abort()
        self._commitments.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
