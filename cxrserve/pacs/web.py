"""STOW-RS client (PS3.18 10.5), with dicomweb-client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from cxrserve import dicom_status
from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import WebPeer, WebService
from cxrserve.errors import ConfigurationError
from cxrserve.pacs.http_limits import AnswerTooLarge, LimitedAdapter
from cxrserve.pacs.transcoding import decompressed, is_compressed, is_report, reference_to
from cxrserve.reports.dicom.objects import Reference
from cxrserve.reports.dicom.report_class import REPORT_CLASSES, with_report_class

# HTTP statuses that may change by themselves: a proxy without its server or with a login page, an expired
# token, timeouts, overload.
_PASSING: Final = frozenset((*range(300, 400), 401, 403, 404, 408, 425, 429, *range(500, 600)))
# Statuses of single objects that another try does not change: PS3.4 Table B.2-1.
NEVER: Final = (
    dicom_status.SOP_CLASS_NOT_SUPPORTED,
    *dicom_status.DATA_SET_MISMATCHES,
    *dicom_status.CANNOT_UNDERSTANDS,
)
_UNCONFIRMED: Final = -1  # no Failure Reason
_MAX_ANSWER_BYTES: Final = 32 * 2**20  # of QIDO-RS and STOW-RS: 1,000 matches take some 2 MB
_RESPONSES: Final = (
    "application/dicom+json",
    "application/json",
    "application/dicom+xml",
    "application/xml",
)


class _Session(requests.Session):
    """An HTTP session with limits on the time and the answer of every request, which follows no redirect.

    Two answers that dicomweb-client takes for success are errors here: a redirect, and an answer to STOW-RS
    that is no Store Instances Response, such as the login page of a proxy.

    Args:
        max_answer_bytes: largest body of an answer.
        stores: True where each POST is one of STOW-RS.
    """

    def __init__(self, peer: WebService, max_answer_bytes: int, *, stores: bool = False) -> None:
        super().__init__()
        self._stores: Final = stores
        for scheme in ("https://", "http://"):
            self.mount(scheme, LimitedAdapter(timeout_s=peer.timeout_s, max_answer_bytes=max_answer_bytes))
        self._timeout_s: Final = peer.timeout_s
        self._url: Final = peer.url
        self.trust_env = False  # no proxy and no .netrc
        self.verify = True if peer.ca_file is None else str(peer.ca_file)
        self.headers["User-Agent"] = "cxrserve"
        if peer.token_file is not None:
            self.headers["Authorization"] = f"Bearer {_secret(peer.token_file)}"
        elif peer.username is not None and peer.password_file is not None:
            self.auth = (peer.username, _secret(peer.password_file))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As `requests`, with the timeout.

        Raises:
            requests.HTTPError: the peer redirects.
            DeliveryError: the answer to STOW-RS is no Store Instances Response.
        """
        kwargs["timeout"] = self._timeout_s
        kwargs["allow_redirects"] = False
        answer = super().request(*args, **kwargs)
        if 300 <= answer.status_code < 400:
            raise requests.HTTPError("redirected", response=answer)
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in _RESPONSES:  # dicomweb-client reads no type with parameters, such as a charset
            answer.headers["Content-Type"] = kind
        elif self._stores and answer.ok and answer.request.method == "POST":
            raise _no_response(self._url)
        return answer


def _no_response(url: str) -> DeliveryError:
    return DeliveryError(
        f"{url} answered with no Store Instances Response (PS3.18 10.5.3), so nothing says that the "
        "objects are stored. Check the address, and any proxy before it.",
        retryable=True,
    )


def session(peer: WebService, max_answer_bytes: int) -> requests.Session:
    """A session for `peer`, for one thread, with a limit on the bytes of an answer."""
    return _Session(peer, max_answer_bytes)


def web_client(peer: WebService) -> DICOMwebClient:
    """A DICOMweb client for one thread. Reads the secrets now, so that renewed ones are used.

    Raises:
        ConfigurationError: a file of secrets cannot be read.
    """
    client = DICOMwebClient(url=peer.url.rstrip("/"), session=_Session(peer, _MAX_ANSWER_BYTES, stores=True))
    client.set_http_retry_params(retry=False)  # the archive tries again
    return client


def translated(error: Exception, peer: WebService) -> DeliveryError:
    """The error of a peer as a DeliveryError, without any text from the peer."""
    response = getattr(error, "response", None)
    if isinstance(error, AnswerTooLarge):
        return DeliveryError(
            f"{peer.url} answers with too many bytes: {error}. Check that it is the right server.",
            retryable=True,
        )
    if response is None:
        return DeliveryError(
            f"{peer.url} cannot be reached, or does not answer within {peer.timeout_s:g} s. Is it running?",
            retryable=True,
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

    def send(self, objects: Sequence[Path]) -> Sequence[Reference]:
        """Send the Part 10 files `objects`; returns the objects as they were sent.

        Raises:
            DeliveryError: the peer did not accept all of them.
        """
        chosen = self._peer.report_class
        datasets = [
            with_report_class(dataset, REPORT_CLASSES[chosen]) if chosen and is_report(dataset) else dataset
            for dataset in map(dcmread, objects)
        ]
        failures = self._store(datasets)
        compressed = [
            dataset
            for dataset in datasets
            if is_compressed(dataset) and failures.get(dataset.SOPInstanceUID) in NEVER
        ]
        if compressed:  # STOW-RS negotiates nothing: perhaps the peer does not know the compression
            failures = {
                uid: reason
                for uid, reason in failures.items()
                if uid not in {dataset.SOPInstanceUID for dataset in compressed}
            } | self._store([decompressed(dataset) for dataset in compressed])
        if failures:
            raise DeliveryError(
                f"{self._peer.url} refused {len(failures)} of {len(objects)} objects. Its log says why.",
                retryable=any(reason not in (None, *NEVER) for reason in failures.values()),
            )
        return [reference_to(dataset) for dataset in datasets]

    def _store(self, datasets: Sequence[Dataset]) -> dict[str, int | None]:
        """Send `datasets` in one request. Returns the Failure Reason of each that the peer refused, by UID.

        Raises:
            DeliveryError: it cannot be reached, or neither confirms nor refuses some of them.
        """
        try:
            answer = web_client(self._peer).store_instances(datasets)
        except (requests.RequestException, OSError) as error:
            conflict = self._conflict(error)
            if conflict is None:
                raise translated(error, self._peer) from error
            answer = conflict
        except DeliveryError:
            raise
        except Exception as error:  # whatever the libraries raise for another form of answer
            raise _no_response(self._peer.url) from error
        return self._failures(answer, [dataset.SOPInstanceUID for dataset in datasets])

    def _conflict(self, error: Exception) -> Dataset | None:
        """The answer in HTTP 409, none was stored (PS3.18 Table 10.5.3-1); None where it gives no reasons."""
        response = getattr(error, "response", None)
        if response is None or response.status_code != 409:
            return None
        try:
            answer = Dataset.from_json(response.text)
        except Exception:  # without reasons, nothing indicates that another try would help
            return None
        return answer if answer.get("FailedSOPSequence") else None

    def _failures(self, answer: Dataset, sent: Sequence[str]) -> dict[str, int | None]:
        """The Failure Reason of each object that was not stored, by UID.

        PS3.18 10.5.3: an object is stored only if the answer names it in Referenced SOP Sequence.
        """
        stored = {item.get("ReferencedSOPInstanceUID") for item in answer.get("ReferencedSOPSequence") or ()}
        failed = [
            (item.get("ReferencedSOPInstanceUID"), item.get("FailureReason"))
            for item in answer.get("FailedSOPSequence") or ()
        ]
        named = {uid: reason for uid, reason in failed if uid is not None}
        unnamed = iter([reason for uid, reason in failed if uid is None])  # some servers leave the UID out
        failures: dict[str, int | None] = {}
        for uid in sent:
            if uid not in stored:
                failures[uid] = named[uid] if uid in named else next(unnamed, _UNCONFIRMED)
        unconfirmed = [uid for uid, reason in failures.items() if reason == _UNCONFIRMED]
        if unconfirmed:
            raise DeliveryError(
                f"{self._peer.url} did not confirm {len(unconfirmed)} of {len(sent)} objects: its answer "
                "names them neither as stored nor as failed (PS3.18 10.5.3). Check server and proxy.",
                retryable=True,
            )
        # A duplicate: an earlier try had arrived. UIDs of results are made from their bytes, so the peer's
        # object with this UID is this very object.
        return {
            uid: reason for uid, reason in failures.items() if reason != dicom_status.DUPLICATE_SOP_INSTANCE
        }


def _secret(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file of secrets {path} cannot be read.") from error
