"""Pull of studies from a PACS into the archive, by QIDO-RS and WADO-RS (PS3.18 10.6, 10.4).

Only servers in the rules are queried: a caller cannot make this service open another address.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any, Final

import requests

from cxrserve import dicom_status
from cxrserve.archive.archive import Archive
from cxrserve.archive.destination import DeliveryError, PullError
from cxrserve.archive.peers import PullServer
from cxrserve.archive.receipt import Source
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record
from cxrserve.errors import CxrserveError
from cxrserve.imaging.dicom.identity import is_uid
from cxrserve.multipart import single_part
from cxrserve.pacs.http_limits import AnswerTooLarge
from cxrserve.pacs.presentation_contexts import STORAGE_CLASSES
from cxrserve.pacs.web import session, translated, web_client

_log: Final = logging.getLogger("cxrserve.pacs")
_ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CHUNK_BYTES: Final = 256 * 1024
_MULTIPART_BYTES: Final = 4096
_PAGE: Final = 1000  # objects of one search; a server may give fewer at a time
_MAX_OBJECTS: Final = 100_000
_REMEMBERED: Final = 100_000
_MAX_IN_A_ROW: Final = 10  # failures: then the server is at fault, and not an object


class Pull:
    """Pulls from one server.

    Args:
        max_bytes: of one object.
    """

    def __init__(self, server: PullServer, archive: Archive, *, max_bytes: int) -> None:
        self._server: Final = server
        self._archive: Final = archive
        self._max_bytes: Final = max_bytes
        self._seen: Final[set[str]] = set()  # SOP Instance UIDs that need not be fetched again
        self._failed: Final[set[str]] = set()  # those whose last fetch failed

    def study(self, study_instance_uid: str) -> int | None:
        """Fetch the radiographs of a study that the archive does not have.

        Returns:
            their number; None where the server has no radiograph of this study.

        Raises:
            DeliveryError: the server did not send all of them; the archive has those that it sent.
        """
        if not is_uid(study_instance_uid):
            raise PullError(f"{study_instance_uid[:64]!r} is no Study Instance UID.", retryable=False)
        images = list(radiographs(self._server, StudyInstanceUID=study_instance_uid))
        return self._fetch_all(images) if images else None

    def new(self, today: date, studies: list[str]) -> int:
        """Fetch the new objects of the server; returns their number.

        Args:
            studies: the Study Instance UID of each fetched object is added, also where an error ends the
                search.

        Raises:
            DeliveryError: as `study`.
        """
        days = f"{today - timedelta(days=self._server.days):%Y%m%d}-{today:%Y%m%d}"
        for known in (self._seen, self._failed):
            if len(known) > _REMEMBERED:
                known.clear()
        return self._fetch_all(
            (
                match
                for modality in self._server.modalities
                for match in radiographs(self._server, StudyDate=days, Modality=modality)
                if _uid(match, "00080018") not in self._seen
            ),
            studies,
        )

    def _fetch_all(self, matches: Iterable[dict[str, Any]], studies: list[str] | None = None) -> int:
        """Fetch all; returns the number stored. An object that fails does not stop the others."""
        count, failed, in_a_row = 0, 0, 0
        first: DeliveryError | None = None
        for match in self._in_turn(matches):
            try:
                stored = self._fetch(match)
                count += stored
                if stored and studies is not None:
                    studies.append(_uid(match, "0020000D"))
                self._failed.discard(_uid(match, "00080018"))
                in_a_row = 0
            except DeliveryError as error:
                (self._failed if error.retryable else self._seen).add(_uid(match, "00080018"))
                first, failed, in_a_row = first or error, failed + 1, in_a_row + 1
                if in_a_row == _MAX_IN_A_ROW:
                    break
        if first is not None:
            raise DeliveryError(
                f"{failed} objects could not be fetched, {count} were. The first error: {first.detail}",
                retryable=first.retryable,
            ) from first
        return count

    def _in_turn(self, matches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Put objects that failed last time at the end, so that they cannot delay new ones."""
        again = []
        for match in matches:
            if _uid(match, "00080018") in self._failed:
                again.append(match)
            else:
                yield match
        yield from again

    def _fetch(self, match: dict[str, Any]) -> int:
        """1 where the object was fetched and stored, else 0."""
        uids = instance_of(match)
        if uids is None:
            return 0
        study, series, instance = uids
        sop_class = _uid(match, "00080016")
        if self._archive.has(instance, sop_class, as_work=True):
            self._seen.add(instance)
            return 0
        try:
            data = retrieve(self._server, study, series, instance, max_bytes=self._max_bytes)
            receipt = self._archive.receive(data, Source(protocol="pull"))
        except DeliveryError:
            raise
        except CxrserveError as error:
            _log.warning("fetched object refused: %s", error.slug)
            # An object that was refused for another reason will be refused tomorrow too.
            if error.dimse_status != dicom_status.OUT_OF_RESOURCES:
                self._seen.add(instance)
            return 0
        self._seen.add(instance)
        return int(receipt.outcome == "kept")


class ObjectTooLarge(DeliveryError):
    """The server sends an object with more bytes than allowed."""


def retrieve(server: PullServer, study: str, series: str, instance: str, *, max_bytes: int) -> bytes:
    """The bytes of one object.

    Raises:
        ObjectTooLarge: it has more than `max_bytes`.
        DeliveryError: the server did not send it.
    """
    path = f"studies/{study}/series/{series}/instances/{instance}"
    try:
        # What is around the object in its multipart body takes a few hundred bytes.
        with session(server, max_bytes + _MULTIPART_BYTES).get(
            f"{server.url.rstrip('/')}/{path}", headers={"Accept": _ACCEPT}, stream=True
        ) as answer:
            answer.raise_for_status()
            body = bytearray()
            for chunk in answer.iter_content(_CHUNK_BYTES):
                body += chunk
            return single_part(bytes(body), answer.headers.get("Content-Type", ""))
    except AnswerTooLarge as error:
        raise ObjectTooLarge(
            f"{server.url} sends an object of more than {max_bytes} bytes. Raise CXRSERVE_MAX_UPLOAD_BYTES.",
            retryable=False,
        ) from error
    except (requests.RequestException, OSError) as error:
        raise translated(error, server) from error


def radiographs(server: PullServer, *, complete: bool = False, **filters: str) -> Iterator[dict[str, Any]]:
    """The radiographs on `server` that match, each once, page by page; as DICOM JSON.

    Args:
        complete: all of them, however many; an error where the server gives the same page again. Without it,
            a part of a very long list is enough.

    Raises:
        DeliveryError: the server did not answer the search.
    """
    known: set[str] = set()
    offset = 0
    while complete or len(known) < _MAX_OBJECTS:
        try:
            page = web_client(server).search_for_instances(search_filters=filters, limit=_PAGE, offset=offset)
        except (requests.RequestException, OSError, ValueError) as error:
            raise translated(error, server) from error
        new = {_uid(match, "00080018"): match for match in page if _uid(match, "00080018") not in known}
        if not new:  # the last page, or a server that ignores offset
            if complete and page and len(known) <= _PAGE:
                raise DeliveryError(
                    f"{server.url} gives the same {len(page)} objects again for the next page, so nothing "
                    "says that its list is complete. It must support `limit` and `offset` (PS3.18 8.3.4).",
                    retryable=False,
                )
            return
        known |= new.keys()
        offset += len(page)
        for match in new.values():
            modality = (match.get("00080060", {}).get("Value") or [""])[0]
            if _uid(match, "00080016") in STORAGE_CLASSES and modality in server.modalities:
                yield match


def instance_of(match: dict[str, Any]) -> tuple[str, str, str] | None:
    """The UIDs of study, series and object of a match; None where one of them is no UID."""
    uids = _uid(match, "0020000D"), _uid(match, "0020000E"), _uid(match, "00080018")
    return uids if all(map(is_uid, uids)) else None


class Schedule:
    """Looks for new images at intervals, on every server with `every_s` in the rules."""

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
        failed = False
        while not self._closing.is_set():
            started, studies, before = time.monotonic(), list[str](), failed
            problem = ""
            try:
                if count := pull.new(date.today(), studies):
                    _log.info("server=%s fetched=%d", name, count)
            except DeliveryError as error:
                problem = error.slug
                _log.warning("server=%s %s", name, error.detail)
            except Exception as error:
                problem = type(error).__name__
                _log.error("server=%s %s", name, type(error).__name__)
            failed = bool(problem)
            if studies or (failed and not before):  # a server that stays away leaves one event
                _record_round(name, studies, problem)
            self._closing.wait(max(0.0, every_s - (time.monotonic() - started)))

    def close(self) -> None:
        """Stop after the current fetch. Idempotent."""
        self._closing.set()


def _record_round(server: str, studies: list[str], problem: str) -> None:
    record(
        AuditEvent(
            action="pull",
            outcome="error" if problem else "success",
            detail=problem or "schedule",
            user=server,
            studies=tuple(dict.fromkeys(studies)),
        )
    )


def puller_of(pulls: Mapping[str, Pull]) -> PullFromFirst | None:
    """Pulls a study from the first server that has it; None where the rules name no server."""
    return PullFromFirst(pulls) if pulls else None


class PullFromFirst:
    """Queries the servers in the order of the rules until one has the study."""

    def __init__(self, pulls: Mapping[str, Pull]) -> None:
        self._pulls: Final = pulls

    def __call__(self, study_instance_uid: str) -> int:
        """The number of objects that arrived; 0 where the archive has all of them.

        Raises:
            PullError: no server has a radiograph of the study, or those that may have one failed.
        """
        failure: DeliveryError | None = None
        for pull in self._pulls.values():
            try:
                count = pull.study(study_instance_uid)
                if count is not None:
                    return count
            except DeliveryError as error:
                failure = error
        if failure is not None:
            raise PullError(failure.detail, retryable=failure.retryable) from failure
        names = ", ".join(self._pulls)
        raise PullError(
            f"none of the servers {names} has a radiograph of this study. Check the UID, and `modalities` in "
            "the rules.",
            retryable=False,
        )


def _uid(match: dict[str, Any], tag: str) -> str:
    value = (match.get(tag, {}).get("Value") or [""])[0]
    return value if isinstance(value, str) else ""
