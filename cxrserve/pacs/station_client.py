"""HTTP client of a running station, for the command line."""

from __future__ import annotations

import requests

from cxrserve.archive.destination import PullError

_TIMEOUT_S = 600.0  # a study may be large, and the PACS slow


def pull(url: str, study_instance_uid: str, token: str) -> int:
    """Let the station at `url` pull a study; returns the number of objects stored.

    Raises:
        PullError: no station answers, or it could not pull the study; the detail gives the reason.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        response = requests.post(
            f"{url.rstrip('/')}/studies/{study_instance_uid}", headers=headers, timeout=_TIMEOUT_S
        )
        body = response.json()
    except (requests.RequestException, ValueError) as error:
        raise PullError(f"no station answers at {url}. Is it running?", retryable=True) from error
    if not response.ok:
        raise PullError(str(body.get("detail", f"HTTP {response.status_code}")), retryable=False)
    return int(body["objects"])
