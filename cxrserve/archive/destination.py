"""Protocols of destinations, of pulls, and of Storage Commitment reports: implemented in `pacs`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cxrserve.archive.tls_files import TlsFiles
from cxrserve.errors import CxrserveError
from cxrserve.reports.dicom.objects import Reference
from cxrserve.reports.dicom.patient import Patient
from cxrserve.schema import Strict


class DeliveryError(CxrserveError):
    """A destination did not take the results.

    Attributes:
        retryable: True where another try may succeed (nobody answers, out of resources); False where it
            never will (the peer refuses the kind of object): the delivery is then a dead letter at once.
    """

    http_status = 502
    slug = "not-delivered"
    title = "The results could not be delivered"

    def __init__(self, detail: str, *, retryable: bool) -> None:
        super().__init__(detail)
        self.retryable = retryable


class PullError(DeliveryError):
    """A study cannot be fetched from the servers of the rules."""

    slug = "not-fetched"
    title = "The study could not be fetched"


class Destination(Protocol):
    """Something that takes DICOM objects: a C-STORE or a STOW-RS peer."""

    def send(self, objects: Sequence[Path]) -> Sequence[Reference]:
        """Send the Part 10 files `objects`, all or none as far as the caller can tell.

        It may be called again with objects that arrived before: their UIDs and bytes are the same. It may be
        called from several threads at once.

        Returns:
            the DICOM objects as the peer took them: a report may have been sent in another SOP class. None
            where the peer gets messages.

        Raises:
            DeliveryError: the peer did not take all of them; without patient data.
        """
        ...


class CommitmentRequest(Strict):
    """A request of Storage Commitment (PS3.4 J.3.2), and where its report goes.

    Attributes:
        ae_title: the modality that asked.
        objects: SOP Class UID and SOP Instance UID of each object.
    """

    ae_title: str
    host: str
    port: int
    tls: TlsFiles | None = None
    transaction_uid: str
    objects: tuple[tuple[str, str], ...]


class CommitmentReporter(Protocol):
    """Sends reports of Storage Commitment."""

    def report(self, request: CommitmentRequest, missing: Collection[str]) -> None:
        """Report that all objects of `request` are stored, but the SOP Instance UIDs in `missing`.

        It may be called again after a report that arrived.

        Raises:
            DeliveryError: the modality did not take the report; without patient data.
        """
        ...


class Puller(Protocol):
    """Fetches a study from a PACS into the archive."""

    def __call__(self, study_instance_uid: str) -> int:
        """The number of objects that arrived.

        Raises:
            DeliveryError: the PACS did not give them.
        """
        ...


IsStored = Callable[[str, str], bool]  # a SOP Instance UID and a SOP Class UID: is it stored and sound?
Keep = Callable[[bytes], bool]  # takes in a fetched file; True where it is stored


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorsWanted:
    """A search for earlier studies of a patient.

    Attributes:
        server: its name in the rules, of a server or of a DIMSE destination.
        studies: how many at the most.
        study_instance_uid, study_date: of the current study; "" for a date that is not known.
    """

    server: str
    studies: int
    patient_id: str
    issuer: str
    study_instance_uid: str
    study_date: str


class Arrivals(Protocol):
    """Images that a PACS is asked to send to the port of this node, or of another node of the archive."""

    def expect(self, sop_instance_uids: Sequence[str]) -> None:
        """Announce them. Before the PACS is asked: else they count as new work."""
        ...

    def has_come(self, sop_instance_uid: str) -> bool:
        """True once such an image was taken in, or ignored because it does not fit the rule."""
        ...


class PriorSource(Protocol):
    """Fetches the radiographs of a patient's earlier studies from a PACS."""

    def __call__(
        self, wanted: PriorsWanted, is_stored: IsStored, keep: Keep, arrivals: Arrivals, fetched: list[str]
    ) -> None:
        """Fetch the newest studies of which an image is taken in, or of which one is stored.

        Args:
            fetched: the Study Instance UID of each of them with a new image is added, also where an error
                ends the search.

        Raises:
            DeliveryError: the PACS did not answer, or did not give all images; without patient data.
        """
        ...


class PatientDirectory(Protocol):
    """Knows whose a study is, by the PACS."""

    def __call__(self, study_instance_uid: str) -> Patient | None:
        """The patient of a study; None where the PACS does not know the study, or gives no single answer.

        Raises:
            DeliveryError: the PACS does not answer; without patient data.
        """
        ...
