"""The Store Instances Response of STOW-RS: PS3.18 10.5.3, PS3.3 Annex I.2."""

from __future__ import annotations

import json
from typing import Any, Final

from cxrserve.imaging.dicom.identity import Identity

MEDIA_TYPE: Final = "application/dicom+json"


class StoreInstancesResponse:
    """The result of one STOW-RS request, built object by object."""

    def __init__(self) -> None:
        self._stored: Final[list[dict[str, Any]]] = []
        self._failed: Final[list[dict[str, Any]]] = []

    def add_stored(self, identity: Identity) -> None:
        """Add a stored object."""
        # Without a Retrieve URL (0008,1190), which names the object in WADO-RS: this service has no WADO-RS.
        self._stored.append(_reference(identity))

    def add_failed(self, identity: Identity | None, reason: int) -> None:
        """Add a failed object; `reason` is a C-STORE status (PS3.18 Table 10.5.3-1)."""
        reference = {} if identity is None else _reference(identity)
        self._failed.append({**reference, "00081197": {"vr": "US", "Value": [reason]}})

    @property
    def status(self) -> int:
        """The HTTP status: 200 if all objects are stored, 202 if some are, 409 if none is."""
        if not self._failed:
            return 200
        return 202 if self._stored else 409

    def json(self) -> str:
        """The data set in the DICOM JSON model (PS3.18 Annex F)."""
        dataset: dict[str, Any] = {}
        if self._failed:
            dataset["00081198"] = {"vr": "SQ", "Value": self._failed}
        if self._stored:
            dataset["00081199"] = {"vr": "SQ", "Value": self._stored}
        return json.dumps(dataset)


def _reference(identity: Identity) -> dict[str, Any]:
    uids = {"00081150": identity.sop_class_uid, "00081155": identity.sop_instance_uid}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items() if uid}
