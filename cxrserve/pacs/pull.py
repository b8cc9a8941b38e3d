"""Fetching studies from a PACS, by QIDO-RS and WADO-RS (PS3.18 10.6, 10.4), into the archive.

Only servers that the rules name are ever asked: nobody can have this service open an address of theirs.
Objects are kept byte for byte as they came, so that one which comes by C-STORE too is seen to be the same.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any, Final

import requests

from cxrserve.archive.archive import Archive
from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.receipt import Source
from cxrserve.archive.rules import PullServer
from cxrserve.errors import CxrserveError
from cxrserve.imaging.dicom import is_uid
from cxrserve.pacs.offers import STORAGE_CLASSES
from cxrserve.pacs.web import session, translated, web_client

_log: Final = logging.getLogger("cxrserve.pacs")
_ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_CHUNK_BYTES: Final = 256 * 1024
_PAGE: Final = 1000  # objects of one search; a server may give fewer at a time
_MOST_OBJECTS: Final = 100_000
_REMEMBERED: Final = 100_000
_MOST_IN_A_ROW: Final = 10  # failures: then the server is at fault, and not an object


class Pull:
    """Fetches from one server.

    Args:
        most_bytes: of one object.
    """

    def __init__(self, server: PullServer, archive: Archive, *, most_bytes: int) -> None:
        self._server: Final = server
        self._archive: Final = archive
        self._most_bytes: Final = most_bytes
        self._seen: Final[set[str]] = set()  # those that need not be asked for again
        self._failed: Final[set[str]] = set()  # those that did not come when they were asked for last

    def study(self, study_instance_uid: str) -> int:
        """Fetch the radiographs of a study that are not here yet; how many there were.

        Raises:
            DeliveryError: the server did not give all of them; those that it gave are here.
        """
        if not is_uid(study_instance_uid):
            raise DeliveryError("that is no Study Instance UID.", retryable=False)
        return self._fetch_all(radiographs(self._server, StudyInstanceUID=study_instance_uid))

    def new(self, today: date) -> int:
        """Fetch what is new on the server; how many objects there were.

        Raises:
            DeliveryError: as `study`.
        """
        days = f"{today - timedelta(days=self._server.days):%Y%m%d}-{today:%Y%m%d}"
        for known in (self._seen, self._failed):
            if len(known) > _REMEMBERED:
                known.clear()
        return self._fetch_all(
            found
            for modality in self._server.modalities
            for found in radiographs(self._server, StudyDate=days, Modality=modality)
            if _uid(found, "00080018") not in self._seen
        )

    def _fetch_all(self, found: Iterable[dict[str, Any]]) -> int:
        """How many came and were taken. One that does not come holds up none of the others."""
        count, failed, in_a_row = 0, 0, 0
        first: DeliveryError | None = None
        for each in self._in_turn(found):
            try:
                count += self._fetch(each)
                self._failed.discard(_uid(each, "00080018"))
                in_a_row = 0
            except DeliveryError as error:
                (self._failed if error.retryable else self._seen).add(_uid(each, "00080018"))
                first, failed, in_a_row = first or error, failed + 1, in_a_row + 1
                if in_a_row == _MOST_IN_A_ROW:
                    break
        if first is not None:
            raise DeliveryError(
                f"{failed} objects did not come, and {count} did. The first: {first.detail}",
                retryable=first.retryable,
            ) from first
        return count

    def _in_turn(self, found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Those that failed the last time come last: however many they are, they starve nothing new."""
        again = []
        for each in found:
            if _uid(each, "00080018") in self._failed:
                again.append(each)
            else:
                yield each
        yield from again

    def _fetch(self, found: dict[str, Any]) -> int:
        """1 where the object came and was taken."""
        sop_class, instance = _uid(found, "00080016"), _uid(found, "00080018")
        study, series = _uid(found, "0020000D"), _uid(found, "0020000E")
        if not all(map(is_uid, (study, series, instance))):
            return 0
        if self._archive.has(instance, sop_class):
            self._seen.add(instance)
            return 0
        path = f"studies/{study}/series/{series}/instances/{instance}"
        try:
            receipt = self._archive.receive(self._retrieve(path), Source(protocol="pull"))
        except DeliveryError:
            raise
        except CxrserveError as error:
            _log.warning("a fetched object was refused: %s", error.slug)
            if (
                error.dimse_status != 0xA700
            ):  # not for want of resources: it will not be taken tomorrow either
                self._seen.add(instance)
            return 0
        self._seen.add(instance)
        return int(receipt.outcome == "kept")

    def _retrieve(self, path: str) -> bytes:
        """The bytes of one object.

        Raises:
            DeliveryError: the server did not give them, or too many.
        """
        try:
            with session(self._server).get(
                f"{self._server.url.rstrip('/')}/{path}", headers={"Accept": _ACCEPT}, stream=True
            ) as answer:
                answer.raise_for_status()
                body = bytearray()
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    body += chunk
                    if len(body) > self._most_bytes:
                        raise DeliveryError(
                            f"{self._server.url} sends an object of more than {self._most_bytes} bytes. "
                            "Have max_upload_bytes raised.",
                            retryable=False,
                        )
                return _only_part(bytes(body), answer.headers.get("Content-Type", ""))
        except (requests.RequestException, OSError) as error:
            raise translated(error, self._server) from error


def radiographs(server: PullServer, **filters: str) -> Iterator[dict[str, Any]]:
    """The radiographs on `server` that fit, each once, page by page; DICOM JSON.

    Raises:
        DeliveryError: the server did not say.
    """
    known: set[str] = set()
    offset = 0
    while len(known) < _MOST_OBJECTS:
        try:
            page = web_client(server).search_for_instances(search_filters=filters, limit=_PAGE, offset=offset)
        except (requests.RequestException, OSError, ValueError) as error:
            raise translated(error, server) from error
        new = {_uid(each, "00080018"): each for each in page if _uid(each, "00080018") not in known}
        if not new:  # all was seen, or the server knows no pages
            return
        known |= new.keys()
        offset += len(page)
        for each in new.values():
            modality = (each.get("00080060", {}).get("Value") or [""])[0]
            if _uid(each, "00080016") in STORAGE_CLASSES and modality in server.modalities:
                yield each


class Schedule:
    """Looks for new images on every server that the rules want to be looked at."""

    def __init__(self, pulls: Mapping[str, Pull], servers: Mapping[str, PullServer]) -> None:
        self._closing: Final = threading.Event()
        self._threads: Final = [
            threading.Thread(
                target=self._run, args=(name, pulls[name], server.every_s), name=f"pull-{name}", daemon=True
            )
            for name, server in servers.items()
            if server.every_s is not None
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, name: str, pull: Pull, every_s: float) -> None:
        while not self._closing.is_set():
            started = time.monotonic()
            try:
                if count := pull.new(date.today()):
                    _log.info("server=%s fetched=%d", name, count)
            except DeliveryError as error:
                _log.warning("server=%s %s", name, error.detail)
            except Exception as error:
                _log.error("server=%s %s", name, type(error).__name__)
            self._closing.wait(max(0.0, every_s - (time.monotonic() - started)))

    def close(self) -> None:
        """Stop; what is being fetched may end. Idempotent."""
        self._closing.set()


def puller_of(pulls: Mapping[str, Pull]) -> FirstThatHas | None:
    """What fetches a study by its UID, from whichever server has it; None where the rules name no server."""
    return FirstThatHas(pulls) if pulls else None


class FirstThatHas:
    """Asks every server in the rules' order until one has the study."""

    def __init__(self, pulls: Mapping[str, Pull]) -> None:
        self._pulls: Final = pulls

    def __call__(self, study_instance_uid: str) -> int:
        """The number of objects that arrived.

        Raises:
            DeliveryError: no server gave any, and one of them failed.
        """
        failure: DeliveryError | None = None
        for pull in self._pulls.values():
            try:
                if count := pull.study(study_instance_uid):
                    return count
            except DeliveryError as error:
                failure = error
        if failure is not None:
            raise failure
        return 0


def _uid(found: dict[str, Any], tag: str) -> str:
    value = (found.get(tag, {}).get("Value") or [""])[0]
    return value if isinstance(value, str) else ""


def _only_part(body: bytes, content_type: str) -> bytes:
    """The one part of a multipart/related answer; the body itself where a server sends the bare object."""
    boundary = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/related") or boundary is None:
        return body
    delimiter = b"--" + boundary[1].encode("latin-1")
    start = body.find(delimiter)
    head = body.find(b"\r\n\r\n", start)
    end = body.rfind(b"\r\n" + delimiter)
    return body[head + 4 : end] if -1 < start < head < end else b""
