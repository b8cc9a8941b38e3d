"""Durable workflows on DBOS: the only file that knows it.

A job (a study's revision, or a delivery) is tried until it is done; each try is one workflow whose id is the
job and the number of the try, so that whoever starts it, and however often, it is one. A process that dies
leaves its workflows to its next start, where they go on after the last finished step; steps may therefore
run twice, and those of `Steps` are made for it.

What keeps work from being stranded: the executor's name is the node's, and the application's version is a
constant of ours and not that of the code. Inputs are names, in portable JSON; no pixels, no pickle. The
admin server that DBOS once had is gone in its version 3; nothing listens.
"""

from __future__ import annotations

import datetime
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

from cxrserve.errors import ConfigurationError

_Result = TypeVar("_Result")

# Raised only when a workflow's steps change so that half-done ones cannot go on; work must then be drained.
_WORK_VERSION: Final = "1"
_POLLING_S: Final = 0.05
_STUDIES: Final = "studies"
_STAT, _ROUTINE = 1, 10  # lower goes first
_MOST_FORGOTTEN: Final = 1000  # at once
_MOST_ASKED: Final = 1000  # databases limit the values of one query, and a PACS may be away for a day
_WAITING: Final = frozenset({"ENQUEUED", "DELAYED"})

Problem = dict[str, Any]
_Workflow = Callable[[str, int], None]


class Steps(Protocol):
    """What a job is made of. Each step may run more than once, also at the same time on two machines."""

    def images(self, job: str) -> list[str]:
        """SOP Instance UIDs of the images a study job covers."""
        ...

    def image(self, sop_instance_uid: str) -> None:
        """Read one image, and keep what came of it."""
        ...

    def report(self, job: str) -> None:
        """Make the study's results from those of its images, and the deliveries."""
        ...

    def deliver(self, job: str) -> None:
        """Send what a delivery job names."""
        ...

    def problem(self, error: Exception) -> Problem:
        """What is kept of an error that ends a try."""
        ...

    def ended(self, job: str, attempt: int, problem: Problem | None) -> None:
        """Note the end of a try: done without a problem."""
        ...


class Work:
    """The engine. One in a process, as DBOS is.

    Args:
        url: DBOS's own tables; on PostgreSQL in a schema of their own.
        node: the name under which this process finds its work again after a crash.
        destinations: each gets a queue of its own, so that one that hangs holds up no other.
    """

    def __init__(
        self,
        url: sa.URL,
        node: str,
        steps: Steps,
        destinations: Iterable[str],
        *,
        studies: int,
        deliveries: int,
    ) -> None:
        self._node: Final = node
        self._steps: Final = steps
        self._queues: Final = {_STUDIES: studies, **{_queue_of(name): deliveries for name in destinations}}
        if url.get_backend_name() == "sqlite":
            _use_write_ahead_log(str(url.database))
        config: DBOSConfig = {
            "name": "cxrserve",
            "system_database_url": url.render_as_string(hide_password=False),
            "executor_id": node,
            "application_version": _WORK_VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "ERROR",
            "enable_otlp": False,
            "use_listen_notify": False,
            "sys_db_pool_size": 8,
        }
        DBOS(config=config)
        self._study, self._delivery = self._workflows()
        self._lock: Final = threading.Lock()
        self._running: Final[set[str]] = set()

    def _workflows(self) -> tuple[_Workflow, _Workflow]:
        # A crash is no fault of the workflow's, so there is no limit to how often one may go on after one.
        @DBOS.workflow(name="study", max_recovery_attempts=None)
        def study(job: str, attempt: int) -> None:
            with self._counted(job, attempt):
                self._run_study(job, attempt)

        @DBOS.workflow(name="delivery", max_recovery_attempts=None)
        def delivery(job: str, attempt: int) -> None:
            with self._counted(job, attempt):
                self._run_delivery(job, attempt)

        return study, delivery

    def launch(self) -> None:
        """Go on with what was left, and take new work.

        Raises:
            ConfigurationError: the database cannot be used.
        """
        try:
            DBOS.launch()
            for name, concurrency in self._queues.items():
                DBOS.register_queue(
                    name,
                    worker_concurrency=concurrency,
                    polling_interval_sec=_POLLING_S,
                    on_conflict="always_update",
                )
        except Exception as error:
            raise ConfigurationError(
                f"the engine of durable work did not start ({type(error).__name__}). Check the database."
            ) from error

    def start_study(self, job: str, attempt: int, *, stat: bool) -> None:
        """Begin try number `attempt` of a study job, unless it was begun before."""
        self._enqueue(_STUDIES, self._study, job, attempt, stat=stat)

    def start_delivery(self, job: str, attempt: int, destination: str, *, stat: bool) -> None:
        """Begin try number `attempt` of a delivery, unless it was begun before."""
        queue = _queue_of(destination)
        queue = queue if queue in self._queues else _STUDIES  # a destination that the rules no longer have
        self._enqueue(queue, self._delivery, job, attempt, stat=stat)

    def _enqueue(self, queue: str, workflow: _Workflow, job: str, attempt: int, *, stat: bool) -> None:
        with (
            SetWorkflowID(_workflow_id(job, attempt)),
            SetEnqueueOptions(priority=_STAT if stat else _ROUTINE),
        ):
            DBOS.enqueue_workflow(queue, workflow, job, attempt)

    def lost(self, tries: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those of `tries` (job, attempt) that no workflow is at any more, however that came.

        One that has just begun or ended may be among them; one that is so twice in a row is lost.
        """
        ids = {_workflow_id(job, attempt): (job, attempt) for job, attempt in tries}
        asked = list(ids)
        found = [
            each
            for first in range(0, len(asked), _MOST_ASKED)
            for each in DBOS.list_workflows(
                workflow_ids=asked[first : first + _MOST_ASKED], load_input=False, load_output=False
            )
        ]
        with self._lock:
            alive = {
                each.workflow_id
                for each in found
                if each.status in _WAITING
                or (
                    each.status == "PENDING"
                    and (each.executor_id != self._node or each.workflow_id in self._running)
                )
            }
        return [one for workflow_id, one in ids.items() if workflow_id not in alive]

    def recover(self, node: str) -> None:
        """Take over what another node, now dead, was at."""
        DBOS._recover_pending_workflows([node])

    def forget(self, older_than_s: float = 7 * 86_400.0) -> None:
        """Delete what the engine remembers of workflows that ended this long ago; jobs stay in the index."""
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=older_than_s)
        while True:
            ended = DBOS.list_workflows(
                completed_before=before.isoformat(),
                limit=_MOST_FORGOTTEN,
                load_input=False,
                load_output=False,
            )
            if ended:
                DBOS.delete_workflows([each.workflow_id for each in ended])
            if len(ended) < _MOST_FORGOTTEN:
                return

    def close(self, timeout_s: int) -> None:
        """Stop taking work and give workflows `timeout_s` to end; what does not goes on at the next start."""
        with self._lock:
            idle = not self._running
        # DBOS looks once a second, also where there is nothing to wait for.
        DBOS.destroy(workflow_completion_timeout_sec=0 if idle else timeout_s, destroy_registry=True)

    @contextmanager
    def _counted(self, job: str, attempt: int) -> Iterator[None]:
        with self._lock:
            self._running.add(_workflow_id(job, attempt))
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(_workflow_id(job, attempt))

    def _run_study(self, job: str, attempt: int) -> None:
        problem, images = self._step("images", self._steps.images, job)
        for sop_instance_uid in images or ():
            problem = problem or self._step("image", self._steps.image, sop_instance_uid)[0]
        problem = problem or self._step("report", self._steps.report, job)[0]
        DBOS.run_step({"name": "ended"}, self._steps.ended, job, attempt, problem)

    def _run_delivery(self, job: str, attempt: int) -> None:
        problem, _ = self._step("deliver", self._steps.deliver, job)
        DBOS.run_step({"name": "ended"}, self._steps.ended, job, attempt, problem)

    def _step(
        self, name: str, work: Callable[[str], _Result], argument: str
    ) -> tuple[Problem | None, _Result | None]:
        """One recorded step; its error is a result like others, so that what is recorded is ours alone."""

        def recorded() -> dict[str, Any]:
            try:
                return {"result": work(argument)}
            except Exception as error:
                return {"problem": self._steps.problem(error)}

        outcome = DBOS.run_step({"name": name}, recorded)
        return outcome.get("problem"), outcome.get("result")


def _workflow_id(job: str, attempt: int) -> str:
    return f"{job}.{attempt}"


def _queue_of(destination: str) -> str:
    return f"to-{destination}"


def _use_write_ahead_log(path: str) -> None:
    """Before DBOS opens the file: the mode stays with it, and commits stay as durable (synchronous=FULL)."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
