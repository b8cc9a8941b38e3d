"""Source of a received object, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cxrserve import dicom_status
from cxrserve.reports.dicom.patient import Patient

Outcome = Literal["kept", "duplicate", "held", "quarantined", "ignored", "refused"]
Reason = Literal["other-content", "other-patient"]
PRIOR: Final = "prior"  # `Source.protocol` of an image that was fetched because another study asks for it
_STATUSES: Final[dict[Outcome, int]] = {
    "kept": dicom_status.SUCCESS,
    "duplicate": dicom_status.SUCCESS,
    "held": dicom_status.SUCCESS,  # stored, and worked on once its patient is decided
    "ignored": dicom_status.SUCCESS,
    "refused": dicom_status.NOT_AUTHORIZED,  # no rule takes it
    "quarantined": dicom_status.DUPLICATE_SOP_INSTANCE,  # with other content
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The source of an object.

    Attributes:
        protocol: how it came: "dimse", "stow", "pull", "prior", "workitem" or "file".
        calling_ae: the sender's AE title; "" where the protocol has none.
        address: the sender's address, without port; "" where there is none.
        prior_of: for an image of a patient's earlier study that this node has fetched, the name of the rule
            that asked for it; else "".
        patient: for an input of a workitem, whose patient that names; an object of another one is refused.
    """

    protocol: str
    calling_ae: str = ""
    address: str = ""
    prior_of: str = ""
    patient: Patient | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The outcome of one received object.

    Attributes:
        outcome:
            "kept": on disk, its hash stored, its work committed: answer success.
            "duplicate": the same object was kept before: answer success, nothing more will happen.
            "ignored": a result of this software, or no rule takes it and the rules say to acknowledge such
                objects: answer success, though it was not stored.
            "refused": no rule takes it, and the rules say to refuse such objects: answer a refusal.
            "held": this study's images are another patient's, and nothing says yet who is right. This one is
                on disk in quarantine, and is worked on once that is decided: answer success.
            "quarantined": an object with this SOP Instance UID and other content was kept before. This one
                lies in the quarantine folder and is not worked on: answer a refusal, never success.
        sop_class_uid, sop_instance_uid, study_instance_uid: from the data set.
        sha256: of the bytes as received.
        detail: a sentence for the log and for the peer, without patient data.
        reason: why it was held or quarantined; None where it was not.
    """

    outcome: Outcome
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    sha256: str
    detail: str
    reason: Reason | None = None

    @property
    def dimse_status(self) -> int:
        """The C-STORE status to answer with (PS3.4 Table B.2-1, PS3.7 Annex C)."""
        return _STATUSES[self.outcome]

    @property
    def acknowledged(self) -> bool:
        """True where the sender may be told that all is well."""
        return self.outcome in ("kept", "duplicate", "held", "ignored")
