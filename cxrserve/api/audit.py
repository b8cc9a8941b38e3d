"""Records each HTTP request to patient data in the audit trail: exactly one event for one request."""

from __future__ import annotations

from typing import Final

from cxrserve.api.request_log import RequestRecord
from cxrserve.audit.event import Action, AuditEvent, Outcome
from cxrserve.audit.trail import record

_ACTIONS: Final[dict[tuple[str, str], Action]] = {
    ("POST", "/predict"): "predict",
    ("POST", "/predict/study"): "predict",
    ("POST", "/triage"): "predict",
    ("POST", "/display"): "predict",
    ("GET", "/studies"): "query",
    ("GET", "/studies/{study}"): "read",
    ("GET", "/studies/{study}/images/{image}"): "read",
    ("GET", "/studies/{study}/images/{image}/answer"): "read",
    ("GET", "/studies/{study}/images/{image}/display"): "read",
    ("POST", "/studies/{study}/images/{image}/predict"): "predict",
    ("GET", "/studies/{study}/results"): "read",
    ("GET", "/studies/{study}/fhir"): "read",
    ("GET", "/studies/{study}/labels"): "read",
    ("POST", "/studies/{study}/labels"): "label",
    ("GET", "/quarantine"): "query",
    ("GET", "/quarantine/{sha256}"): "read",
    ("POST", "/quarantine/{sha256}/{decision}"): "release",
    ("GET", "/login/callback"): "login",
    ("POST", "/logout"): "logout",
    ("POST", "/studies/{study}"): "pull",
    ("POST", "/dicom-web/studies"): "store",
    ("POST", "/dicom-web/studies/{study}"): "store",
}
_NOT_MODIFIED: Final = 304


def record_request(request: RequestRecord, *, method: str | None, path: str | None, status: int) -> None:
    """Record a request that was answered. A 304 showed nobody anything, so it is not recorded.

    Nor is a request whose work has recorded its own event.
    """
    action = _action(method, path, status)
    if action is None or status == _NOT_MODIFIED or request.audited:
        return
    outcome: Outcome = "success" if status < 400 else "failure" if status < 500 else "error"
    patient = request.patient
    record(
        AuditEvent(
            action=action,
            outcome=outcome,
            detail=request.outcome,
            user=request.client,
            address=request.address,
            studies=tuple(dict.fromkeys(patient.studies)),
            images=tuple(dict.fromkeys(patient.images)),
            patients=tuple(dict.fromkeys(patient.patients)),
            accessions=tuple(dict.fromkeys(patient.accessions)),
            files=tuple(upload.sha256 for upload in request.uploads),
            query=patient.query,
            request=request.request_id,
        )
    )


def _action(method: str | None, path: str | None, status: int) -> Action | None:
    if status == 401:
        return "login"
    if status == 403:
        return "refused"
    return _ACTIONS.get((method or "", path or ""))
