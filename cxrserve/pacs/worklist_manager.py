"""UPS-RS client (PS3.18 11): searches a worklist manager, claims its workitems and reports on them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import requests
from pydicom.dataset import Dataset

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import Peer, PullServer, WorklistPeer
from cxrserve.archive.rules import Rules
from cxrserve.archive.workitems import Performed, Task, Workitem, WorkitemImage, WorkitemState
from cxrserve.imaging.dicom.dataset import text
from cxrserve.imaging.dicom.identity import is_uid
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS, quiet
from cxrserve.pacs.presentation_contexts import STORAGE_CLASSES
from cxrserve.pacs.pull import instance_of, radiographs, retrieve
from cxrserve.pacs.web import session, translated
from cxrserve.pacs.workitem_dataset import (
    NoPatient,
    is_for,
    performed_update,
    priority_of,
    read_workitem,
    state_change,
)

_log: Final = logging.getLogger("cxrserve.pacs")
_MEDIA_TYPE: Final = "application/dicom+json"
_MAX_ANSWER_BYTES: Final = 32 * 2**20
_PAGE: Final = 100
_MAX_WORKITEMS: Final = 10_000
_FIELDS: Final = (
    "ScheduledWorkitemCodeSequence",
    "ScheduledStationNameCodeSequence",
    "WorklistLabel",
    "InputReadinessState",
    "ScheduledProcedureStepPriority",
)
# Change State and Update: another transaction, another state, unknown or deleted (PS3.18 11.6.3, 11.7.3).
_REFUSALS: Final = (400, 404, 409, 410)
_GONE: Final = (404, 409, 410)  # Retrieve (PS3.18 11.5.3)


def worklist_managers(rules: Rules, ae_title: str, *, max_bytes: int) -> dict[str, UpsManager]:
    """A client for each worklist of the rules, by its name. Sends nothing yet.

    Raises:
        ConfigurationError: a file of a token or password cannot be used.
    """
    return {
        name: UpsManager(peer, rules.servers, rules.destinations, ae_title, max_bytes=max_bytes)
        for name, peer in rules.worklists.items()
    }


class UpsManager:
    """One worklist manager, as `WorklistManager`. Thread-safe.

    Args:
        servers: from which images may be fetched, by their names; no other address is asked.
        destinations: where results go, by their names.
        max_bytes: of one image.
    """

    def __init__(
        self,
        peer: WorklistPeer,
        servers: Mapping[str, PullServer],
        destinations: Mapping[str, Peer],
        ae_title: str,
        *,
        max_bytes: int,
    ) -> None:
        self._peer: Final = peer
        self._servers: Final = servers
        self._destinations: Final = destinations
        self._station: Final = peer.station or ae_title
        self._max_bytes: Final = max_bytes
        self._unreadable = 0  # entries of the last search
        session(peer, _MAX_ANSWER_BYTES)  # read its secrets once, to refuse at the start

    @property
    def peer(self) -> WorklistPeer:
        """As `WorklistManager`."""
        return self._peer

    def search(self) -> list[str]:
        """UIDs of the scheduled workitems that this station takes, those of high priority first.

        Raises:
            DeliveryError: the manager did not answer the search.
        """
        found: dict[str, int] = {}
        seen: set[str] = set()
        received = unreadable = 0
        while received < _MAX_WORKITEMS:
            page = self._search(received)
            known = len(seen)
            for entry in page:
                with quiet:
                    try:
                        dataset = Dataset.from_json(entry)
                        uid = text(dataset, "SOPInstanceUID")
                        is_ours = is_uid(uid) and is_for(dataset, self._peer, self._station)
                    except FOREIGN_ERRORS:  # one that is broken must not hide the others
                        unreadable += 1
                        continue
                if uid not in seen and is_ours:
                    found[uid] = priority_of(dataset)
                seen.add(uid)
            received += len(page)
            if len(seen) == known:  # the end, or a manager that ignores `offset`
                break
        before, self._unreadable = self._unreadable, unreadable
        if unreadable and unreadable != before:  # once, and not at every search
            _log.warning("%s lists %d workitems that cannot be read", self._peer.url, unreadable)
        return sorted(found, key=found.__getitem__)

    def _search(self, offset: int, limit: int = _PAGE) -> list[Any]:
        """One page of the scheduled workitems, as DICOM JSON.

        Raises:
            DeliveryError: as `search`.
        """
        parameters = [("ProcedureStepState", "SCHEDULED")]
        if self._peer.label is not None:
            parameters.append(("WorklistLabel", self._peer.label))
        if (code := self._peer.code) is not None:
            parameters.append(("ScheduledWorkitemCodeSequence.CodeValue", code.value))
            parameters.append(("ScheduledWorkitemCodeSequence.CodingSchemeDesignator", code.scheme))
        parameters += [("includefield", field) for field in _FIELDS]
        parameters += [("limit", str(limit)), ("offset", str(offset))]
        return self._content(self._exchange("GET", "workitems", params=parameters))

    def check(self) -> None:
        """Search for one workitem, to see that the manager answers.

        Raises:
            DeliveryError: it does not.
        """
        self._search(0, 1)

    def retrieve(self, uid: str) -> Workitem | None:
        """As `WorklistManager`."""
        answer = self._exchange("GET", f"workitems/{uid}", refusals=_GONE)
        if not answer.ok:
            return None
        content = self._content(answer)
        with quiet:
            try:
                (entry,) = content
                workitem = read_workitem(Dataset.from_json(entry))
            except NoPatient as error:
                raise DeliveryError(
                    f"{self._peer.url} gives a workitem whose {error} is no single text (PS3.18 F.2.3), so "
                    "that its images cannot be compared with its patient. It must give it as a string.",
                    retryable=False,
                ) from error
            except FOREIGN_ERRORS as error:
                raise self._no_workitems() from error
        if workitem.uid not in ("", uid):
            raise DeliveryError(
                f"{self._peer.url} gives another workitem than the one that it is asked for. Check any proxy "
                "before it.",
                retryable=True,
            )
        return workitem

    def change_state(self, task: Task, state: WorkitemState) -> bool:
        """As `WorklistManager`."""
        answer = self._exchange(
            "PUT",
            f"workitems/{task.workitem_uid}/state",
            state_change(task.transaction_uid, state),
            refusals=_REFUSALS,
        )
        return answer.ok

    def update(self, workitem: Workitem, task: Task, performed: Performed) -> bool:
        """As `WorklistManager`."""
        transaction = task.transaction_uid
        dataset = performed_update(
            transaction,
            performed,
            codes=workitem.codes,
            station=self._station,
            peers=self._destinations,
        )
        # PS3.18 11.6.1 has the UID itself as the query; some managers look for it under a name, and others
        # in the data set, where N-SET has it (PS3.4 CC.2.6).
        path = f"workitems/{task.workitem_uid}?{transaction}&transaction-uid={transaction}"
        return self._exchange("POST", path, dataset, refusals=_REFUSALS).ok

    def images(self, workitem: Workitem) -> list[WorkitemImage]:
        """As `WorklistManager`."""
        images: dict[str, WorkitemImage] = {}
        for study, series, instance, sop_class, url in workitem.inputs:
            server = self._server_of(url)
            if is_uid(study) and is_uid(series) and is_uid(instance):
                if sop_class in STORAGE_CLASSES:
                    images[instance] = WorkitemImage(
                        study_instance_uid=study,
                        series_instance_uid=series,
                        sop_instance_uid=instance,
                        sop_class_uid=sop_class,
                        server=server,
                    )
            elif is_uid(study):
                images |= {
                    each.sop_instance_uid: each for each in self._find(server, study, series, instance)
                }
        return list(images.values())

    def _find(self, server: str, study: str, series: str, instance: str) -> Iterator[WorkitemImage]:
        """The radiographs of a study; of one series, or one object, where that is not empty."""
        for match in radiographs(self._servers[server], complete=True, StudyInstanceUID=study):
            uids = instance_of(match)
            if (
                uids is None
                or uids[0] != study
                or series not in ("", uids[1])
                or instance not in ("", uids[2])
            ):
                continue
            yield WorkitemImage(
                study_instance_uid=uids[0],
                series_instance_uid=uids[1],
                sop_instance_uid=uids[2],
                sop_class_uid=str(match["00080016"]["Value"][0]),
                server=server,
            )

    def _server_of(self, url: str) -> str:
        """Name of the server to ask: the one below whose address `url` lies, else that of the rules."""
        for name, server in self._servers.items():
            if url.startswith(f"{server.url.rstrip('/')}/"):
                return name
        return self._peer.images

    def fetch(self, image: WorkitemImage) -> bytes:
        """As `WorklistManager`."""
        uids = image.study_instance_uid, image.series_instance_uid, image.sop_instance_uid
        return retrieve(self._servers[image.server], *uids, max_bytes=self._max_bytes)

    def _exchange(
        self,
        method: str,
        path: str,
        payload: Dataset | None = None,
        *,
        params: list[tuple[str, str]] | None = None,
        refusals: tuple[int, ...] = (),
    ) -> requests.Response:
        """One request; the answer is success, or one of `refusals`.

        Raises:
            DeliveryError: it is neither, or there is none.
        """
        peer = self._peer
        headers = {"Accept": _MEDIA_TYPE}
        body = None
        if payload is not None:  # an array, also of one (PS3.18 11.1.3)
            headers["Content-Type"] = _MEDIA_TYPE
            body = json.dumps([payload.to_json_dict()]).encode()
        try:
            answer = session(peer, _MAX_ANSWER_BYTES).request(
                method, f"{peer.url.rstrip('/')}/{path}", params=params, data=body, headers=headers
            )
            if answer.status_code not in refusals:
                answer.raise_for_status()
        except (requests.RequestException, OSError) as error:
            raise translated(error, peer) from error
        return answer

    def _content(self, answer: requests.Response) -> list[Any]:
        """The workitems in an answer, as DICOM JSON; some managers give a single one without its array.

        Raises:
            DeliveryError: it is no JSON.
        """
        if answer.status_code == requests.codes.no_content or not answer.content:
            return []
        try:
            content = answer.json()
        except ValueError as error:
            raise self._no_workitems() from error
        return content if isinstance(content, list) else [content]

    def _no_workitems(self) -> DeliveryError:
        return DeliveryError(
            f"{self._peer.url} answers with no workitems in DICOM JSON (PS3.18 11.5). Check the address, and "
            "any proxy before it.",
            retryable=True,
        )
