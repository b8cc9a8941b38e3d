"""One audited event. It names patients and studies: it goes into the audit trail and never into a log."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Literal

Action = Literal[
    "start",
    "stop",
    "predict",
    "read",
    "query",
    "store",
    "pull",
    "correct",
    "release",
    "delete",
    "label",
    "export",
    "login",
    "logout",
    "refused",
    "association",
    "retry",
    "purge",
]
Outcome = Literal["success", "failure", "error"]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEvent:
    """One action on patient data, or one attempt.

    Attributes:
        action: what was done. "correct": a study or an image was moved to another patient or order;
            "release": an object was let out of quarantine; "label": a reader gave labels; "export": films
            and labels were copied out of the archive; "login": a sign-in, or a refused token or client
            certificate; "refused": any other refused access; "association": a refused DICOM association;
            "retry" and "purge": jobs of the queue.
        outcome: "failure" if the request was refused, "error" if the service failed.
        detail: the slug of the problem, or "ok".
        user: the client's name, the calling AE title, or "" if there is neither.
        address: the client's IP address; "" for the service's own work.
        studies, images: Study and SOP Instance UIDs.
        patients: patient IDs.
        accessions: accession numbers.
        files: SHA-256 of uploaded files, which may belong to no study.
        query: the query string of a search.
        request: the id of the HTTP request, as in the log; "" without one.
    """

    action: Action
    outcome: Outcome = "success"
    detail: str = "ok"
    user: str = ""
    address: str = ""
    studies: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    accessions: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    query: str = ""
    request: str = ""
    time: datetime.datetime = field(default_factory=_now)
