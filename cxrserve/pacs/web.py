"""STOW-RS towards a peer (PS3.18 10.5), with dicomweb-client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.rules import WebPeer, WebService
from cxrserve.errors import ConfigurationError

# Answers that another try may change: a proxy that asks for a login or is without its server, a renewed
# token, timeouts, overload.
_PASSING: Final = frozenset((*range(300, 400), 401, 403, 404, 408, 425, 429, *range(500, 600)))
# Of the statuses of single objects, those that no other try changes: PS3.4 Table B.2-1, PS3.7 C.5.10.
NEVER: Final = (0x0122, *range(0xA900, 0xAA00), *range(0xC000, 0xD000))
# Duplicate SOP Instance (PS3.7 C.5.8): an earlier try had arrived. UIDs of results are made from their bytes,
# so what the peer holds under this one is this very object.
DUPLICATE: Final = 0x0111
_RESPONSES: Final = (
    "application/dicom+json",
    "application/json",
    "application/dicom+xml",
    "application/xml",
)


class _Session(requests.Session):
    """A session whose every request has a time limit, and which follows no redirect to another place.

    What dicomweb-client would take for success is an error here: a redirect, and an answer to STOW-RS that
    is no Store Instances Response, such as the page of a proxy that asks for a login.
    """

    def __init__(self, peer: WebService) -> None:
        super().__init__()
        self._timeout_s: Final = peer.timeout_s
        self._url: Final = peer.url
        self.trust_env = False  # no proxy and no .netrc but what the rules say
        self.verify = True if peer.ca_file is None else str(peer.ca_file)
        self.headers["User-Agent"] = "cxrserve"
        if peer.token_file is not None:
            self.headers["Authorization"] = f"Bearer {_secret(peer.token_file)}"
        elif peer.username is not None and peer.password_file is not None:
            self.auth = (peer.username, _secret(peer.password_file))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As `requests`, within the time limit.

        Raises:
            requests.HTTPError: the peer redirects.
            DeliveryError: it answered a POST with something else than a Store Instances Response.
        """
        kwargs["timeout"] = self._timeout_s
        kwargs["allow_redirects"] = False
        answer = super().request(*args, **kwargs)
        if 300 <= answer.status_code < 400:
            raise requests.HTTPError("redirected", response=answer)
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in _RESPONSES:  # dicomweb-client reads none with parameters, a charset for example
            answer.headers["Content-Type"] = kind
        elif answer.ok and answer.request.method == "POST" and answer.content:
            raise DeliveryError(
                f"{self._url} answered with no Store Instances Response (PS3.18 10.5.3), so nothing says "
                "that the objects are stored. Check the address, and what stands before it.",
                retryable=True,
            )
        return answer


def session(peer: WebService) -> requests.Session:
    """A session for `peer`, for one thread."""
    return _Session(peer)


def web_client(peer: WebService) -> DICOMwebClient:
    """A client of its own, for one thread. Secrets are read now, so that renewed ones are used.

    Raises:
        ConfigurationError: a file of secrets cannot be read.
    """
    client = DICOMwebClient(url=peer.url.rstrip("/"), session=_Session(peer))
    client.set_http_retry_params(retry=False)  # the archive tries again, and remembers
    return client


def translated(error: Exception, peer: WebService) -> DeliveryError:
    """What went wrong with a peer, without anything that it said."""
    response = getattr(error, "response", None)
    if response is None:
        return DeliveryError(
            f"{peer.url} cannot be reached, or does not answer within {peer.timeout_s:g} s.", retryable=True
        )
    status = response.status_code
    return DeliveryError(
        f"{peer.url} answered HTTP {status}. Its log says why.", retryable=status in _PASSING
    )


class WebDestination:
    """STOW-RS: all objects in one request for each study."""

    def __init__(self, peer: WebPeer) -> None:
        self._peer: Final = peer
        web_client(peer)  # read its secrets once, to refuse at start

    def send(self, objects: Sequence[Path]) -> None:
        """Send the Part 10 files `objects`.

        Raises:
            DeliveryError: the peer did not take all of them.
        """
        try:
            answer = web_client(self._peer).store_instances([dcmread(path) for path in objects])
        except (requests.RequestException, OSError) as error:
            conflict = self._conflict(error)
            if conflict is None:
                raise translated(error, self._peer) from error
            answer = conflict
        self._check(answer, len(objects))

    def _conflict(self, error: Exception) -> Dataset | None:
        """The answer in HTTP 409, none was stored (PS3.18 Table 10.5.3-1); None where it says not why."""
        response = getattr(error, "response", None)
        if response is None or response.status_code != 409:
            return None
        try:
            answer = Dataset.from_json(response.text)
        except Exception:  # no such answer: nothing says that another try would help
            return None
        return answer if answer.get("FailedSOPSequence") else None

    def _check(self, answer: Dataset, count: int) -> None:
        reasons = [each.get("FailureReason") for each in answer.get("FailedSOPSequence") or ()]
        refused = [reason for reason in reasons if reason != DUPLICATE]
        if refused:
            raise DeliveryError(
                f"{self._peer.url} refused {len(refused)} of {count} objects. Its log says why.",
                retryable=any(reason not in (None, *NEVER) for reason in refused),
            )


def _secret(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file of secrets {path} cannot be read.") from error
