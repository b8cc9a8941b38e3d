"""Who sent an object, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["kept", "duplicate", "quarantined", "ignored", "refused"]
Reason = Literal["other-content", "other-patient"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where an object came from.

    Attributes:
        protocol: how it came: "dimse", "stow", "pull" or "file".
        calling_ae: the sender's AE title; "" where the protocol has none.
        address: the sender's address, without port; "" where there is none.
    """

    protocol: str
    calling_ae: str = ""
    address: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What became of one received object.

    Attributes:
        outcome:
            "kept": on disk, its hash stored, its work committed: answer success.
            "duplicate": the same object was kept before: answer success, nothing more will happen.
            "ignored": no rule takes it, and the rules say to acknowledge such objects: answer success.
            "refused": no rule takes it, and the rules say to refuse such objects: answer a refusal.
            "quarantined": an object with this SOP Instance UID and other content was kept before, or this
                study's images are another patient's. This one lies in the quarantine folder and is not
                worked on: answer a refusal, never success.
        sop_class_uid, sop_instance_uid, study_instance_uid: from the data set.
        sha256: of the bytes as received.
        detail: a sentence for the log and for the peer, without patient data.
        reason: why it was quarantined; None where it was not.
    """

    outcome: Outcome
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    sha256: str
    detail: str
    reason: Reason | None = None

    @property
    def acknowledged(self) -> bool:
        """True where the sender may be told that all is well."""
        return self.outcome in ("kept", "duplicate", "ignored")
