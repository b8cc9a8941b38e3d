"""A worklist manager over HTTP: UPS-RS (PS3.18 11) with the state machine of PS3.4 CC, and nothing forgiven.

It was written with the worker that it tests, so it shows that the worker does what this reading of the
standard asks, and not that another manager understands it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from pydicom import Dataset, config
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import validate_value
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.waiting import until

JSON = "application/dicom+json"
_FINAL = ("COMPLETED", "CANCELED")
# PS3.4 Table CC.2.5-3: P, needed for COMPLETED; X, needed for CANCELED.
_COMPLETED = (
    "PerformedStationNameCodeSequence",
    "PerformedProcedureStepStartDateTime",
    "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepEndDateTime",
    "OutputInformationSequence",
)
_CANCELED = ("ProcedureStepCancellationDateTime", "ProcedureStepDiscontinuationReasonCodeSequence")
_STEP = "UnifiedProcedureStepPerformedProcedureSequence"
_PROGRESS = "ProcedureStepProgressInformationSequence"


@dataclass
class Entry:
    """One workitem.

    Attributes:
        transaction_uid: the lock of its performer.
        states: those that it had, in their order.
        transactions: every Transaction UID that was sent for it.
    """

    dataset: Dataset
    transaction_uid: str = ""
    states: list[str] = field(default_factory=lambda: ["SCHEDULED"])
    transactions: set[str] = field(default_factory=set)

    @property
    def state(self) -> str:
        return self.states[-1]

    @property
    def performed(self) -> Dataset:
        step: Dataset = self.dataset[_STEP].value[0]
        return step

    @property
    def progress(self) -> Dataset:
        item: Dataset = self.dataset[_PROGRESS].value[0]
        return item


class Refused(Exception):
    """The answer to a request that the state machine does not allow."""

    def __init__(self, status: int, warning: str) -> None:
        super().__init__(warning)
        self.status = status
        self.warning = warning


class Manager:
    """The workitems, and what a test does to them.

    Attributes:
        held: the step whose answer is not given while `gate` is closed: "claim", "update", "COMPLETED".
        waiting: the steps whose answers were held so far.
        page: largest number of workitems in one answer.
        claims: where it is set, a claim is answered only when this many performers have sent one.
        broken: entries that are no workitems, which are listed before all others.
        token: where it is not empty, requests without this bearer token are answered with 401.
        proxy_page: the answer to every request, where it is not empty.
        image: the answer of a WADO-RS server, whatever object it is asked for.
        json: the answer to Retrieve, in the place of the workitem that is asked for; None: that one.
        ignores_offset: True for a manager that gives its first page for every page.
        gives_ended: False for a manager that gives no workitem any more once it has ended.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.held = ""
        self.gate = threading.Event()
        self.gate.set()
        self.waiting: list[str] = []
        self.page = 2
        self.claims: threading.Barrier | None = None
        self.broken: list[object] = []
        self.token = ""
        self.proxy_page = ""
        self.image = b""
        self.json: list[object] | None = None
        self.ignores_offset = False
        self.gives_ended = True
        self._lock = threading.Lock()

    def add(self, dataset: Dataset) -> Entry:
        """Create a workitem (N-CREATE)."""
        dataset.SOPInstanceUID = generate_uid()
        dataset.ProcedureStepState = "SCHEDULED"
        entry = Entry(dataset)
        with self._lock:
            self.entries[dataset.SOPInstanceUID] = entry
        return entry

    def cancel(self, entry: Entry) -> None:
        """End a workitem without its performer."""
        with self._lock:
            self._set_state(entry, "CANCELED")

    def answer(self, request: Request, body: bytes) -> Response:
        """Answer one request."""
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response(status_code=401)
        if self.proxy_page:
            return Response(self.proxy_page, media_type="text/html")
        path = request.url.path.removeprefix("/ups/workitems").strip("/")
        try:
            if not path:
                return self._search(request)
            uid, _, resource = path.partition("/")
            entry = self.entries.get(uid)
            if entry is None:
                raise Refused(404, "The Target Workitem was not found.")
            if request.method == "GET":
                return self._retrieve(entry)
            step = (
                self._change_state(entry, body) if resource == "state" else self._update(entry, request, body)
            )
        except Refused as refused:
            return Response(status_code=refused.status, headers={"Warning": f"299 test: {refused.warning}"})
        if step == self.held and not self.gate.is_set():
            self.waiting.append(step)
            self.gate.wait(60)
        return Response(status_code=200)

    def _search(self, request: Request) -> Response:
        keys = [(name, value) for name, value in request.query_params.multi_items()]
        offset = 0 if self.ignores_offset else int(dict(keys).get("offset", 0))
        limit = min(int(dict(keys).get("limit", 100)), self.page)
        wanted = [pair for pair in keys if pair[0] not in ("limit", "offset", "includefield")]
        with self._lock:
            found = self.broken + [
                entry.dataset.to_json_dict()
                for entry in self.entries.values()
                if all(_matches(entry.dataset, name.split("."), value) for name, value in wanted)
            ]
        page = found[offset : offset + limit]
        return _json(page) if page else Response(status_code=204)

    def _retrieve(self, entry: Entry) -> Response:
        with self._lock:
            if entry.state in _FINAL and not self.gives_ended:
                raise Refused(409, "The submitted request is inconsistent with the current state.")
            assert "TransactionUID" not in entry.dataset
            if self.json is not None:
                return _json(self.json)
            return _json([entry.dataset.to_json_dict()])

    def _change_state(self, entry: Entry, body: bytes) -> str:
        dataset = _payload(body)
        state, transaction = str(dataset.get("ProcedureStepState", "")), self._transaction(entry, dataset)
        if state == "IN PROGRESS" and self.claims is not None:
            self.claims.wait(60)
        with self._lock:
            if state == "IN PROGRESS":
                if entry.state != "SCHEDULED":
                    raise Refused(
                        409, "The submitted request is inconsistent with the state of the UPS Instance."
                    )
                entry.transaction_uid = transaction
            elif state in _FINAL:
                self._check_lock(entry, transaction)
                if entry.state == state:
                    return state  # with a warning: B304, B306
                if entry.state != "IN PROGRESS":
                    raise Refused(
                        409, "The submitted request is inconsistent with the state of the UPS Instance."
                    )
                _check_final(entry.dataset, state)
            else:
                raise Refused(400, "The requested state is none.")
            self._set_state(entry, state)
        return "claim" if state == "IN PROGRESS" else state

    def _update(self, entry: Entry, request: Request, body: bytes) -> str:
        dataset = _payload(body)
        transaction = self._transaction(entry, dataset)
        with self._lock:
            if entry.state in _FINAL:
                raise Refused(
                    400, "The submitted request is inconsistent with the current state of the Workitem."
                )
            if entry.state != "IN PROGRESS" or request.url.query.partition("&")[0] != transaction:
                raise Refused(409, "The target URI did not reference a claimed Workitem.")
            self._check_lock(entry, transaction)
            for forbidden in ("ProcedureStepState", "SOPInstanceUID", "SOPClassUID"):
                if forbidden in dataset:
                    raise Refused(400, f"{forbidden} cannot be set.")
            del dataset.TransactionUID
            entry.dataset.update(dataset)
        return "update"

    def _transaction(self, entry: Entry, dataset: Dataset) -> str:
        transaction = UID(dataset.get("TransactionUID", ""))
        if not transaction or not transaction.is_valid:
            raise Refused(400, "The Transaction UID is missing.")
        with self._lock:
            entry.transactions.add(transaction)
        return transaction

    def _check_lock(self, entry: Entry, transaction: str) -> None:
        if transaction != entry.transaction_uid:
            raise Refused(400, "The Transaction UID is incorrect.")

    def _set_state(self, entry: Entry, state: str) -> None:
        entry.states.append(state)
        entry.dataset.ProcedureStepState = state


def _payload(body: bytes) -> Dataset:
    """The only data set of a payload, each value of which is valid for its VR."""
    content = json.loads(body)
    if not isinstance(content, list) or len(content) != 1:
        raise Refused(400, "The payload is no array of one data set.")
    try:
        dataset = Dataset.from_json(content[0])
        for element in dataset.iterall():
            if element.VR != "SQ":
                validate_value(element.VR, str(element.value), config.RAISE)
    except Exception as error:
        raise Refused(400, "The data set did not conform to the requirements.") from error
    return dataset


def _check_final(dataset: Dataset, state: str) -> None:
    """PS3.4 CC.2.5.1.1: the final state requirements."""
    where, names = (_STEP, _COMPLETED) if state == "COMPLETED" else (_PROGRESS, _CANCELED)
    items = dataset.get(where) or [Dataset()]
    if missing := [name for name in names if not items[0].get(name)]:
        raise Refused(409, f"The final state requirements are not met: {', '.join(missing)}.")


def _matches(dataset: Dataset, path: list[str], value: str) -> bool:
    found: Any = dataset.get(path[0])
    if len(path) > 1:
        return any(_matches(item, path[1:], value) for item in found or ())
    return str(found) == value


def _json(content: Any) -> Response:
    return Response(json.dumps(content), media_type=JSON)


@contextmanager
def serving(manager: Manager, port: int = 0) -> Iterator[str]:
    """Serve `manager` while the block lasts; the base of its DICOMweb service."""

    async def answer(request: Request) -> Response:
        return await run_in_threadpool(manager.answer, request, await request.body())

    async def image(_: Request) -> Response:
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + manager.image + b"\r\n--b--\r\n"
        return Response(body, media_type='multipart/related; type="application/dicom"; boundary=b')

    methods = ["GET", "POST", "PUT"]
    app = Starlette(
        routes=[
            Route("/ups/workitems", answer, methods=methods),
            Route("/ups/workitems/{path:path}", answer, methods=methods),
            Route("/ups/images/{path:path}", image),
        ]
    )
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, name="worklist-manager")
    thread.start()
    until(lambda: server.started or None)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/ups"
    finally:
        manager.gate.set()
        server.should_exit = True
        thread.join()
        time.sleep(0.01)
