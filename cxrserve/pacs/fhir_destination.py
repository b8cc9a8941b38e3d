"""FHIR sender: the study's DiagnosticReport to a FHIR R4 server, by a conditional update.

The update is conditional on the report's identifier (FHIR R4, 3.1.0.4.3), so a report that is sent again, or
made again in the next revision, replaces the one that is there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import requests

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import FhirPeer
from cxrserve.pacs.web import session, translated
from cxrserve.reports.dicom.objects import Reference

_MEDIA_TYPE: Final = "application/fhir+json"
_MAX_ANSWER_BYTES: Final = 16 * 2**20  # a server repeats the report
_STORED: Final = (200, 201)
_DICOM_UID: Final = "urn:dicom:uid"


def read_capabilities(peer: FhirPeer) -> None:
    """Read the server's CapabilityStatement, to see that it answers.

    Raises:
        DeliveryError: it does not.
    """
    try:
        session(peer, _MAX_ANSWER_BYTES).get(
            f"{peer.url.rstrip('/')}/metadata", headers={"Accept": _MEDIA_TYPE}
        ).raise_for_status()
    except (requests.RequestException, OSError) as error:
        raise translated(error, peer) from error


class FhirDestination:
    """Sends each report in a request of its own."""

    def __init__(self, peer: FhirPeer) -> None:
        self._peer: Final = peer
        session(peer, _MAX_ANSWER_BYTES)  # read its secrets once, to refuse at the start

    def send(self, objects: Sequence[Path]) -> Sequence[Reference]:
        """Send the files `objects`, each a DiagnosticReport as JSON.

        Raises:
            DeliveryError: the server did not store one of them.
        """
        for path in objects:
            self._update(json.loads(path.read_bytes()))
        return ()

    def _update(self, report: dict[str, Any]) -> None:
        identifier = next(item for item in report["identifier"] if item.get("system") == _DICOM_UID)
        try:
            answer = session(self._peer, _MAX_ANSWER_BYTES).put(
                f"{self._peer.url.rstrip('/')}/DiagnosticReport",
                params={"identifier": f"{identifier['system']}|{identifier['value']}"},
                data=json.dumps(report).encode(),
                headers={"Content-Type": _MEDIA_TYPE, "Accept": _MEDIA_TYPE},
            )
            answer.raise_for_status()
        except (requests.RequestException, OSError) as error:
            raise translated(error, self._peer) from error
        if answer.status_code not in _STORED:
            raise DeliveryError(
                f"{self._peer.url} answered HTTP {answer.status_code} to a conditional update of a "
                "DiagnosticReport, so nothing says that it is stored. Check the address.",
                retryable=True,
            )
