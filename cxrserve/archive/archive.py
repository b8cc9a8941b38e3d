"""Archive: store what is received, work on it, deliver the results."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from cxrserve.archive.destination import (
    CommitmentReporter,
    CommitmentRequest,
    Destination,
    PatientDirectory,
    PriorSource,
)
from cxrserve.archive.jobs.alarm import Alarm
from cxrserve.archive.jobs.job_store import JobStore, open_database
from cxrserve.archive.jobs.prior_job import PriorJob
from cxrserve.archive.jobs.queue import DurableQueue, new_job
from cxrserve.archive.jobs.reconciliation_job import ReconciliationJob, request_reconciliation
from cxrserve.archive.jobs.retries import RetryPolicy
from cxrserve.archive.jobs.scheduler import Scheduler
from cxrserve.archive.jobs.send_jobs import CommitmentJob, DeliveryJob
from cxrserve.archive.jobs.study_job import StudyJob
from cxrserve.archive.jobs.upgrade import upgrade_folder
from cxrserve.archive.jobs.workers import RunJob, Workers, pools_of
from cxrserve.archive.jobs.workitem_job import WorkitemJob
from cxrserve.archive.jobs.workitem_offers import WorkitemOffers
from cxrserve.archive.labels import Labels
from cxrserve.archive.quarantine import Quarantine
from cxrserve.archive.receipt import PRIOR, Receipt, Source
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.archive.receiving.intake import Intake
from cxrserve.archive.rules import CurrentRules, Rules
from cxrserve.archive.rules_file import load_rules
from cxrserve.archive.storage.database import answering
from cxrserve.archive.storage.files import DamagedObject, Store
from cxrserve.archive.storage.identity import check_archive_identity
from cxrserve.archive.storage.retention import Expiry, latest_received
from cxrserve.archive.storage.retention_clock import RetentionClock
from cxrserve.archive.storage.tables import JOBS, OBJECTS, JobKind, JobRow, JobState
from cxrserve.archive.views.metrics import ArchiveMetrics
from cxrserve.archive.views.worklist import Worklist
from cxrserve.archive.workitems import WorkitemOutcome, WorklistManager
from cxrserve.errors import ConfigurationError, TooLarge
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.settings import Settings

_audit: Final = logging.getLogger("cxrserve.audit")
_DECODE_TIMEOUT_S: Final = 60.0
_AFTER_COMMIT_S: Final = 0.05  # objects that come together wake the scheduler once


class Archive:
    """One archive folder, its database and its workers. Thread-safe; a context manager.

    Objects that `receive` has acknowledged survive the end of the process at any moment, and are worked on at
    the next start.

    Attributes:
        worklist: studies, images and results, read-only.
        jobs: waiting jobs and dead letters.
        labels: what readers say about studies.
        quarantine: objects that a person has to decide on.
        workitems: takes offers of scheduled workitems.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        destinations: Mapping[str, Destination],
        reporter: CommitmentReporter | None,
        directory: PatientDirectory | None,
        priors: PriorSource | None,
        managers: Mapping[str, WorklistManager] | None,
    ) -> None:
        self._settings: Final = settings
        self._rules: Final = CurrentRules(load_rules(settings.rules))
        _check_destinations(self.rules, destinations)
        if settings.archive is None:
            raise ConfigurationError("no archive is set. Give its folder as CXRSERVE_ARCHIVE.")
        node = settings.node_name or (socket.gethostname() if _shared(settings) else "cxrserve")
        self._alarm: Final = Alarm()
        with ExitStack() as opened:
            lock = _locked(settings.archive, node if _shared(settings) else "cxrserve")
            opened.callback(os.close, lock)
            self._database: Final = open_database(settings)
            opened.callback(self._database.close)
            if self._database.shared:  # SQLite's files lie in the folder itself
                check_archive_identity(settings.archive, self._database)
            self._store: Final = Store(settings.archive, node)
            upgrade_folder(self._store.folder, self._database)
            clock = RetentionClock(self._store.folder, partial(latest_received, self._database))
            self._database.now = clock.received
            self._expiry: Final = Expiry(self._store, self._database, clock.now)
            metrics, registry = ArchiveMetrics(self._store, self._database), pipeline.metrics.registry
            registry.register(metrics)
            opened.callback(registry.unregister, metrics)
            self._received: Final = pipeline.metrics.received
            self._delivered: Final = pipeline.metrics.deliveries
            self._workitems: Final = pipeline.metrics.workitems
            self.worklist: Final = Worklist(self._store, self._database)
            self.jobs: Final = JobStore(self._database)
            self.labels: Final = Labels(self._database, self.worklist)
            self.quarantine: Final = Quarantine(settings, self._store, self._database, self._alarm.ring)
            self.workitems: Final = WorkitemOffers(self._database, self._alarm.ring, self._count_workitem)
            self._intake: Final = Intake(
                self._store,
                self._database,
                self._rules,
                settings,
                pipeline.predictor.bundle,
                decode=partial(pipeline.display, timeout_s=_DECODE_TIMEOUT_S),
                committed=lambda: self._alarm.ring(_AFTER_COMMIT_S),
                undecided=self._reconcile,
            )
            opened.callback(self._intake.close)
            policy = RetryPolicy(
                max_pause_s=settings.delivery_max_pause_s, give_up_s=settings.delivery_give_up_s
            )
            self._queue: Final = DurableQueue(self._database, node, policy)
            workers = self._workers(pipeline, destinations, reporter, directory, priors, managers)
            opened.callback(workers.close, settings.shutdown_timeout_s)
            scheduler = Scheduler(
                self._database, self._queue, workers, self._alarm, node=node, expire=self._expire
            )
            opened.callback(scheduler.close)
            self._opened: Final = opened.pop_all()

    @classmethod
    def open(
        cls,
        settings: Settings,
        pipeline: Pipeline,
        destinations: Mapping[str, Destination],
        reporter: CommitmentReporter | None = None,
        directory: PatientDirectory | None = None,
        priors: PriorSource | None = None,
        managers: Mapping[str, WorklistManager] | None = None,
    ) -> Self:
        """Open or create the archive in `settings.archive`, and take up the work that is left.

        Args:
            destinations: one for each name in the rules' `destinations`.
            reporter: sends Storage Commitment reports; without one this node leaves them to others.
            directory: knows whose a study is, where the rules ask the PACS.
            priors: fetches earlier studies; without one this node leaves that to others.
            managers: one for each name in the rules' `worklists`; without any this node leaves workitems
                to others.

        Raises:
            ConfigurationError: no folder set, a folder or database that cannot be used or do not belong
                together, wrong rules, or a destination without an entry in `destinations`.
        """
        return cls(settings, pipeline, destinations, reporter, directory, priors, managers)

    def _workers(
        self,
        pipeline: Pipeline,
        destinations: Mapping[str, Destination],
        reporter: CommitmentReporter | None,
        directory: PatientDirectory | None,
        priors: PriorSource | None,
        managers: Mapping[str, WorklistManager] | None,
    ) -> Workers:
        run: dict[JobKind, RunJob] = {
            "study": StudyJob(self._store, self._database, self._rules, pipeline).run,
            "delivery": DeliveryJob(self._store, self._database, destinations).run,
        }
        if reporter is not None:
            run["commitment"] = CommitmentJob(reporter, self.has).run
        if directory is not None:
            run["reconciliation"] = ReconciliationJob(self._database, self._intake, directory).run
        if priors is not None:
            run["priors"] = PriorJob(self._database, self._rules, self.receive, priors, self.has).run
        if managers is not None:
            run["workitem"] = WorkitemJob(
                database=self._database,
                queue=self._queue,
                managers=managers,
                receive=self.receive,
                is_stored=partial(self.has, as_work=True),
                count=self._count_workitem,
            ).run
        pools = pools_of(
            destinations,
            studies=self._settings.study_workers,
            deliveries=self._settings.delivery_workers,
            commitments=reporter is not None,
            reconciliations=directory is not None,
            priors=priors is not None,
            worklists=managers,
        )
        return Workers(self._queue, pools, run, ended=self._ended, free=self._alarm.ring)

    def _reconcile(self, study_key: str) -> None:
        request_reconciliation(self._database, study_key)
        self._alarm.ring()

    def _ended(self, job: JobRow, state: JobState) -> None:
        if job.kind == "delivery":
            self._delivered.labels(job.destination, state).inc()

    def _count_workitem(self, worklist: str, outcome: WorkitemOutcome) -> None:
        self._workitems.labels(worklist, outcome).inc()

    @property
    def rules(self) -> Rules:
        """The rules at this moment."""
        return self._rules.now

    def reload_rules(self) -> None:
        """Read the rules file again. Objects that were received before keep the rule that took them.

        Raises:
            RulesError: they are wrong, or name other destinations or servers; the old ones stay in use.
        """
        self._rules.replace(load_rules(self._settings.rules))

    def begin(self) -> IncomingFile:
        """A file for an object that comes piece by piece. The caller owns it, and passes it to `receive`.

        Raises:
            OutOfResources: the disk has too little space left.
        """
        return self._intake.begin()

    def receive(self, part10: bytes | Path | IncomingFile, source: Source) -> Receipt:
        """Store one object: a DICOM file, as bytes, as a path that stays the caller's, or from `begin`.

        Returns only after the object and its folder are on disk and its row, which is also its work, is
        committed.

        Raises:
            RequestError, ImageError: it is no DICOM object, or lacks a usable UID: refuse it.
            OutOfResources: disk full or read-only, size limits reached, database locked: refuse it as out of
                resources (DIMSE 0xA700, HTTP 503). Nothing was acknowledged; the sender tries again.
        """
        max_bytes = self._settings.max_upload_bytes
        size = _size(part10)
        if size > max_bytes:
            raise TooLarge(
                f"the object has {size} bytes; at most {max_bytes} are accepted (CXRSERVE_MAX_UPLOAD_BYTES)."
            )
        receipt = self._intake.receive(part10, source)
        self._received.labels(source.protocol, receipt.outcome).inc()
        _audit.info(
            "received=%s outcome=%s reason=%s protocol=%s bytes=%d",
            receipt.sha256,
            receipt.outcome,
            receipt.reason or "-",
            source.protocol,
            size,
        )
        return receipt

    def has(self, sop_instance_uid: str, sop_class_uid: str, *, as_work: bool = False) -> bool:
        """True where this object is stored and its file is sound: its hash is computed again.

        Args:
            as_work: False then for a prior, of which nothing is sent: received once more, it is work.

        Raises:
            OutOfResources: the database does not answer.
        """
        with answering(), self._database.reading() as connection:
            digest = connection.execute(
                sa.select(OBJECTS.c.sha256).where(
                    OBJECTS.c.sop_instance_uid == sop_instance_uid,
                    OBJECTS.c.sop_class_uid == sop_class_uid,
                    OBJECTS.c.expired == 0,
                    sa.true() if not as_work else OBJECTS.c.protocol != PRIOR,
                )
            ).scalar()
        if digest is None:
            return False
        try:
            self._store.read(digest)
        except DamagedObject:
            return False
        return True

    def request_commitment(self, request: CommitmentRequest) -> None:
        """Queue a report of Storage Commitment; when this returns, it survives the end of the process.

        Raises:
            OutOfResources: the database does not answer.
        """
        job = new_job(
            id=str(uuid.uuid4()),
            kind="commitment",
            destination=request.ae_title,
            payload=request.model_dump(mode="json"),
        )
        with answering(), self._database.writing() as connection:
            connection.execute(JOBS.insert().values(job))
            self._database.touch(connection)
        self._alarm.ring()

    def _expire(self) -> None:
        self._intake.release_all_agreeing()
        self._expiry.run(self.rules.retention)

    def close(self) -> None:
        """Stop the workers, once the jobs that they are at have ended or their time is up. Idempotent."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_destinations(rules: Rules, destinations: Mapping[str, Destination]) -> None:
    if missing := sorted(rules.destinations.keys() - destinations.keys()):
        raise ConfigurationError(f"nothing can send to the destinations {', '.join(missing)} of the rules.")


def _size(part10: bytes | Path | IncomingFile) -> int:
    if isinstance(part10, IncomingFile):
        return part10.size
    return part10.stat().st_size if isinstance(part10, Path) else len(part10)


def _shared(settings: Settings) -> bool:
    return bool(settings.database_url.get_secret_value())


def _locked(folder: Path, name: str) -> int:
    """Lock the node's name until the process ends: two nodes of one name would take each other's jobs."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / f"{name.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the archive {folder} cannot be used: {error.strerror}. Give a folder that can be written "
            "(CXRSERVE_ARCHIVE)."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"another node called {name} has this archive open. Stop it, or with PostgreSQL give each node "
            "a name of its own (CXRSERVE_NODE_NAME)."
        ) from error
    return descriptor
