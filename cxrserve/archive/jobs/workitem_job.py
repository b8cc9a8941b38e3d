"""Workitem job: claims a workitem of a worklist manager, has its images analysed, and reports the outcome.

    offered     the scheduled workitem gets a job, and in it a Transaction UID, before anything is sent
    claimed     the manager has set it to IN PROGRESS under that UID
    fetched     its images are in the archive
    ended       every image was analysed or refused, every result delivered or given up
    reported    the manager has the performed procedure step and the final state

Each step is written down when it is done, and can be repeated: a process may die at any moment between a
request and its answer. A claim that was sent may have been accepted: only the manager's record of the
Transaction UID tells, so an update under this UID is tried, which nobody else can make (PS3.4 CC.2.6).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from cxrserve import dicom_status
from cxrserve.archive.destination import DeliveryError, IsStored
from cxrserve.archive.jobs.queue import DurableQueue, NotYet
from cxrserve.archive.jobs.report_inputs import as_time
from cxrserve.archive.jobs.study_outcome import StudyOutcome, outcome_of
from cxrserve.archive.receipt import Receipt, Source
from cxrserve.archive.receiving.corrections import was_corrected
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.tables import OBJECTS, STUDIES, JobRow, StudyRow
from cxrserve.archive.workitems import (
    Cancellation,
    FinalState,
    Performed,
    Task,
    Workitem,
    WorkitemImage,
    WorkitemOutcome,
    WorklistManager,
)
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record
from cxrserve.errors import CxrserveError
from cxrserve.reports.dicom.patient import Patient

_log: Final = logging.getLogger("cxrserve.archive")
_LOOK_AGAIN_S: Final = 2.0
_NO_OUTPUT: Final = "The results stay in the station: its rules send no DICOM object of this study."
_UNRECORDED: Final = (
    "The results were delivered before this version of the station, which records their UIDs, was installed."
)
_OTHER_PATIENT: Final = Cancellation(
    reason="wrong-patient",
    text="An image of the input is another patient's than the workitem, or than another image of it.",
)


class _Canceled(Exception):
    """Nothing of the workitem can be done, or not all."""

    def __init__(self, cancellation: Cancellation) -> None:
        super().__init__(cancellation)
        self.cancellation: Final = cancellation


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkitemJob:
    """Does jobs of workitems. Thread-safe, and safe beside other nodes.

    Attributes:
        managers: by the names of the worklists in the rules.
        receive: takes in a file.
        is_stored: says of a SOP Instance UID and a SOP Class UID whether that object is stored and sound.
        count: counts outcomes, by the name of the worklist.
    """

    database: Database
    queue: DurableQueue
    managers: Mapping[str, WorklistManager]
    receive: Callable[[bytes, Source], Receipt]
    is_stored: IsStored
    count: Callable[[str, WorkitemOutcome], None]

    def run(self, job: JobRow) -> None:
        """Go on with one workitem.

        Raises:
            NotYet: its images are being analysed, or their results delivered.
            DeliveryError: the manager, or the server of the images, does not answer or refuses a request.
        """
        manager = self.managers.get(job.destination)
        if manager is None:
            raise DeliveryError(
                f"the rules name no worklist {job.destination} any more. Put it back and retry, or purge "
                "this job; the workitem stays IN PROGRESS until its manager ends it.",
                retryable=False,
            )
        try:
            _Step(self, job, manager).run()
        except DeliveryError:
            self.count(job.destination, "refused")
            raise


class _Step:
    """One try of a job."""

    def __init__(self, parts: WorkitemJob, job: JobRow, manager: WorklistManager) -> None:
        self._parts: Final = parts
        self._job = job
        self._manager: Final = manager
        self._task = Task.model_validate_json(job.payload)

    def run(self) -> None:
        """As `WorkitemJob.run`."""
        if not self._task.claimed and not self._claim():
            return
        if self._task.final_state is None:
            workitem = self._still_ours()
            if workitem is None:
                return
            try:
                if self._task.images is None:
                    self._save(images=tuple(self._fetch(workitem)))
                self._conclude(self._outcome())
            except _Canceled as canceled:
                self._end("CANCELED", canceled.cancellation)
        self._report()

    # Claim

    def _claim(self) -> bool:
        """Claim the workitem; False where it belongs to another performer, or to nobody any more."""
        task, manager = self._task, self._manager
        accepted = manager.change_state(task, "IN PROGRESS")
        workitem = manager.retrieve(task.workitem_uid)
        if workitem is None or workitem.state in ("COMPLETED", "CANCELED"):
            return self._leave("taken", "it is not there any more, or was ended before it was claimed")
        if workitem.state != "IN PROGRESS":
            raise DeliveryError(
                f"{manager.peer.url} refuses the claim of a workitem that it lists as SCHEDULED. Its log "
                "says why.",
                retryable=True,
            )
        if not manager.update(workitem, task, self._performed()):
            if accepted:
                raise DeliveryError(
                    f"{manager.peer.url} accepts a claim and then refuses an update under its Transaction "
                    "UID. Its log says why.",
                    retryable=False,
                )
            return self._leave("taken", "another performer was faster")
        self._save(claimed=True, seen=time.time())
        self._count("claimed")
        _log.info("job=%s worklist=%s claimed", self._job.id, self._job.destination)
        return True

    def _still_ours(self) -> Workitem | None:
        """The workitem, while it is in progress; its state is asked for at the pace of the search."""
        if self._task.images is not None:
            outcome_waits = outcome_of(self._parts.database, self._task.images) is None
            if outcome_waits and abs(time.time() - self._task.seen) < self._manager.peer.every_s:
                raise NotYet(_LOOK_AGAIN_S)
        workitem = self._manager.retrieve(self._task.workitem_uid)
        if workitem is None or workitem.state != "IN PROGRESS":
            self._leave("dropped", "its manager has ended or deleted it; results stay where they are")
            return None
        self._save(seen=time.time())
        return workitem

    def _leave(self, outcome: WorkitemOutcome, why: str) -> bool:
        self._count(outcome)
        level = logging.WARNING if outcome == "dropped" else logging.INFO
        _log.log(level, "job=%s worklist=%s %s: %s", self._job.id, self._job.destination, outcome, why)
        return False

    # Images

    def _fetch(self, workitem: Workitem) -> list[str]:
        """Have all images of the input in the archive; the SOP Instance UIDs of those that it took.

        Raises:
            _Canceled: there is none that it takes, one is another patient's, or one does not come.
        """
        with self._patience():
            images = self._manager.images(workitem)
        if not images:
            raise _Canceled(
                Cancellation(reason="not-supported", text="There is no radiograph among the inputs.")
            )
        taken, refusals, fetched = [], [], dict[str, set[str]]()
        patient = workitem.patient
        try:
            for image in images:
                if not self._parts.is_stored(image.sop_instance_uid, image.sop_class_uid):
                    refusal = self._take_in(image, patient)
                    if refusal:
                        refusals.append(refusal)
                        continue
                    fetched.setdefault(image.server, set()).add(image.study_instance_uid)
                stored = self._check_patient(image.sop_instance_uid, patient)
                if not patient.patient_id:  # then the first image says whose the others must be
                    patient = stored
                taken.append(image.sop_instance_uid)
        finally:
            for server, studies in fetched.items():
                record(
                    AuditEvent(action="pull", detail="workitem", user=server, studies=tuple(sorted(studies)))
                )
        for refusal in dict.fromkeys(refusals):
            _log.warning("job=%s an input was refused: %s", self._job.id, refusal)
        if not taken:
            raise _Canceled(Cancellation(reason="not-supported", text=refusals[0]))
        return taken

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Give the workitem up once the server of its images has not answered for long enough.

        Raises:
            _Canceled: it has not.
            DeliveryError: another try may succeed.
        """
        try:
            yield
        except DeliveryError as error:
            limit_s = self._manager.peer.images_within_s
            if error.retryable and abs(time.time() - self._job.created) < limit_s:
                raise
            _log.warning("job=%s an input could not be fetched: %s", self._job.id, error.detail)
            raise _Canceled(
                Cancellation(reason="incomplete", text="An image of the input could not be retrieved.")
            ) from error

    def _take_in(self, image: WorkitemImage, patient: Patient) -> str:
        """Fetch and store one image; the reason where the archive refuses it, else "".

        Raises:
            _Canceled: it is another patient's, or its server has not given it for long enough.
            DeliveryError: the server does not give it.
        """
        with self._patience():
            data = self._manager.fetch(image)
        try:
            receipt = self._parts.receive(data, Source(protocol="workitem", patient=patient))
        except CxrserveError as error:
            if error.dimse_status == dicom_status.OUT_OF_RESOURCES:
                raise
            return error.title + "."
        if receipt.outcome == "refused" and receipt.reason == "other-patient":
            raise _Canceled(_OTHER_PATIENT)
        if receipt.outcome == "held":
            raise _Canceled(
                Cancellation(
                    reason="wrong-patient",
                    text="The study of an image of the input is stored under another patient, and held "
                    "until a person decides.",
                )
            )
        if receipt.outcome not in ("kept", "duplicate"):
            return receipt.detail
        if receipt.sop_instance_uid != image.sop_instance_uid:
            return "The server gave another object than the one that it was asked for."
        return ""

    def _check_patient(self, sop_instance_uid: str, patient: Patient) -> Patient:
        """Compare the patient of a stored image, and return it; a workitem may be older than a correction.

        Raises:
            _Canceled: the workitem names another patient, also than before any correction.
        """
        query = sa.select(STUDIES).join(OBJECTS).where(OBJECTS.c.sop_instance_uid == sop_instance_uid)
        with self._parts.database.reading() as connection:
            study = StudyRow._make(connection.execute(query).one())
        stored = Patient(patient_id=study.patient_id, issuer=study.patient_id_issuer)
        if stored.differs_from(patient) and not was_corrected(study, patient):
            raise _Canceled(_OTHER_PATIENT)
        return stored

    # End

    def _outcome(self) -> StudyOutcome:
        outcome = outcome_of(self._parts.database, self._task.images or ())
        if outcome is None:
            raise NotYet(_LOOK_AGAIN_S)
        return outcome

    def _conclude(self, outcome: StudyOutcome) -> None:
        """Decide on the final state.

        Raises:
            _Canceled: not all was done.
        """
        if not outcome.analysed:
            reason = "; ".join(outcome.problems) or "The results could not be made"
            raise _Canceled(
                Cancellation(
                    reason="equipment-failure" if outcome.failed else "not-supported",
                    text=f"No image of the input was analysed: {reason}.",
                )
            )
        if outcome.failed:
            raise _Canceled(Cancellation(reason="equipment-failure", text="Not all results could be made."))
        if outcome.undelivered:
            names = ", ".join(outcome.undelivered)
            raise _Canceled(
                Cancellation(reason="equipment-failure", text=f"Results could not be delivered to {names}.")
            )
        if not outcome.outputs:  # PS3.4 Table CC.2.5-3: COMPLETED needs Output Information Sequence
            raise _Canceled(
                Cancellation(reason="unspecified", text=_UNRECORDED if outcome.unrecorded else _NO_OUTPUT)
            )
        self._end("COMPLETED")

    def _end(self, state: FinalState, cancellation: Cancellation | None = None) -> None:
        if cancellation is not None:
            _log.warning(
                "job=%s worklist=%s is canceled: %s", self._job.id, self._job.destination, cancellation.text
            )
        self._save(final_state=state, cancellation=cancellation, ended=time.time())

    def _report(self) -> None:
        """Report the outcome and set the final state."""
        task, manager = self._task, self._manager
        state = task.final_state
        assert state is not None  # noqa: S101 - the caller has seen to it
        workitem = manager.retrieve(task.workitem_uid)
        if workitem is not None and workitem.state == "IN PROGRESS":
            if not manager.update(workitem, task, self._performed()) or not manager.change_state(task, state):
                raise DeliveryError(
                    f"{manager.peer.url} refuses to set a workitem to {state}. Its log says why; then retry "
                    "this job, or purge it.",
                    retryable=False,
                )
        # A manager need not give workitems that have ended (PS3.18 11.5.2): this one may have our state.
        elif (workitem is not None and workitem.state != state) or (
            workitem is None and not manager.change_state(task, state)
        ):
            self._leave("dropped", "its manager has ended or deleted it; results stay where they are")
            return
        self._count("completed" if state == "COMPLETED" else "canceled")
        _log.info("job=%s worklist=%s %s", self._job.id, self._job.destination, state)

    def _performed(self) -> Performed:
        task, started = self._task, as_time(self._job.created)
        if task.final_state is None:
            return Performed(started=started)
        outcome = outcome_of(self._parts.database, task.images) if task.images else None
        return Performed(
            started=started,
            ended=as_time(task.ended),
            outputs=() if outcome is None else outcome.outputs,
            cancellation=task.cancellation,
        )

    def _save(self, **values: object) -> None:
        self._task = self._task.model_copy(update=values)
        self._job = self._parts.queue.save(self._job, self._task.model_dump_json())

    def _count(self, outcome: WorkitemOutcome) -> None:
        self._parts.count(self._job.destination, outcome)
