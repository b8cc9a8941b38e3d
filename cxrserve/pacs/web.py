"""STOW-RS towards a peer (PS3.18 10.5), with dicomweb-client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.rules import WebPeer, WebService
from cxrserve.errors import ConfigurationError

# Answers that another try may change: timeouts, overload, a proxy without its server, a renewed token.
_PASSING: Final = frozenset((401, 403, 404, 408, 425, 429, *range(500, 600)))


class _Session(requests.Session):
    """A session whose every request has a time limit, and which follows no redirect to another place."""

    def __init__(self, peer: WebService) -> None:
        super().__init__()
        self._timeout_s: Final = peer.timeout_s
        self.trust_env = False  # no proxy and no .netrc but what the rules say
        self.verify = True if peer.ca_file is None else str(peer.ca_file)
        self.headers["User-Agent"] = "cxrserve"
        if peer.token_file is not None:
            self.headers["Authorization"] = f"Bearer {_secret(peer.token_file)}"
        elif peer.username is not None and peer.password_file is not None:
            self.auth = (peer.username, _secret(peer.password_file))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As `requests`, within the time limit."""
        kwargs["timeout"] = self._timeout_s
        kwargs["allow_redirects"] = False
        return super().request(*args, **kwargs)


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
            raise translated(error, self._peer) from error
        if failed := len(answer.get("FailedSOPSequence", ())):
            raise DeliveryError(
                f"{self._peer.url} refused {failed} of {len(objects)} objects. Its log says why.",
                retryable=False,
            )


def _secret(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file of secrets {path} cannot be read.") from error
