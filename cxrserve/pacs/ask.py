"""Asking a running station for something, over its HTTP service."""

from __future__ import annotations

import requests

from cxrserve.archive.destination import DeliveryError

_TIMEOUT_S = 600.0  # a study may be large, and the PACS slow


def pull(url: str, study_instance_uid: str, token: str) -> int:
    """Have the station at `url` fetch a study; the number of objects that arrived.

    Raises:
        DeliveryError: nobody answers there, or it could not fetch them; says why.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.post(
            f"{url.rstrip('/')}/studies/{study_instance_uid}", headers=headers, timeout=_TIMEOUT_S
        )
        said = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise DeliveryError(f"no station answers at {url}. Is it running?", retryable=True) from error
    if not answer.ok:
        raise DeliveryError(str(said.get("detail", f"HTTP {answer.status_code}")), retryable=False)
    return int(said["objects"])
