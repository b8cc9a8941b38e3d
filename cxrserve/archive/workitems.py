"""Workitems of a worklist manager (PS3.4 Annex CC), as the archive sees them; implemented in `pacs`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cxrserve.archive.peers import WorklistPeer
from cxrserve.reports.dicom.objects import Reference
from cxrserve.reports.dicom.patient import Patient
from cxrserve.schema import Strict

WorkitemState = Literal["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"]
FinalState = Literal["COMPLETED", "CANCELED"]
# Of Procedure Step Discontinuation Reason Code Sequence: PS3.16 CID 9300.
DiscontinuationReason = Literal[
    "wrong-patient", "not-supported", "incomplete", "equipment-failure", "unspecified"
]
WorkitemOutcome = Literal["claimed", "taken", "completed", "canceled", "dropped", "refused"]


class Cancellation(Strict):
    """The reason why a workitem cannot be completed.

    Attributes:
        text: Reason For Cancellation: a sentence, without patient data.
    """

    reason: DiscontinuationReason
    text: str


class Task(Strict):
    """A workitem of this station, and how far it has come: what its job keeps in the database.

    Attributes:
        workitem_uid: its SOP Instance UID.
        transaction_uid: the lock of whoever claims it; kept here before it is sent for the first time.
        claimed: True once the manager has accepted the claim.
        seen: when the manager was last asked for the workitem's state, in seconds since 1970.
        images: SOP Instance UIDs of its images in the archive; null before they are all there.
        final_state: the state to end with; null before that is known.
        cancellation: with the final state CANCELED.
        ended: when the final state was known, in seconds since 1970.
    """

    workitem_uid: str
    transaction_uid: str
    claimed: bool = False
    seen: float = 0.0
    images: tuple[str, ...] | None = None
    final_state: FinalState | None = None
    cancellation: Cancellation | None = None
    ended: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkitemImage:
    """An image of Input Information Sequence.

    Attributes:
        server: name of the server in the rules that has it.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    server: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Workitem:
    """A workitem as its manager gives it.

    Attributes:
        state: "" where it has none that the standard knows.
        codes: value, scheme and meaning of each item of Scheduled Workitem Code Sequence.
        inputs: Study, Series and SOP Instance UID, SOP Class UID and Retrieve URL of each DICOM input; ""
            for what it does not say. Without a SOP Instance UID it is all of the series or study.
    """

    uid: str
    state: WorkitemState | Literal[""]
    patient: Patient
    codes: tuple[tuple[str, str, str], ...]
    inputs: tuple[tuple[str, str, str, str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A result that a destination has taken.

    Attributes:
        destination: its name in the rules.
    """

    study_instance_uid: str
    object: Reference
    destination: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Performed:
    """The performed procedure step: its times, and once it has ended its end, outputs and cancellation."""

    started: datetime.datetime
    ended: datetime.datetime | None = None
    outputs: Sequence[Output] = ()
    cancellation: Cancellation | None = None


class WorklistManager(Protocol):
    """One worklist manager. Each method raises DeliveryError where nobody answers, without patient data."""

    @property
    def peer(self) -> WorklistPeer:
        """Its entry in the rules."""
        ...

    def retrieve(self, uid: str) -> Workitem | None:
        """The workitem; None where the manager does not give it any more."""
        ...

    def change_state(self, task: Task, state: WorkitemState) -> bool:
        """Change the state of a workitem; False where the manager refuses that.

        It may be called again after a change whose answer was lost.
        """
        ...

    def update(self, workitem: Workitem, task: Task, performed: Performed) -> bool:
        """Report what was performed; False where the manager refuses it: the transaction is not the lock."""
        ...

    def images(self, workitem: Workitem) -> list[WorkitemImage]:
        """The radiographs among the inputs; a server is asked where they do not name single objects."""
        ...

    def fetch(self, image: WorkitemImage) -> bytes:
        """The bytes of an image. DeliveryError also where its server does not have it."""
        ...
