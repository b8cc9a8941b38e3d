"""The log record of a request, without patient data, file names, or the path as it was sent."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from starlette.datastructures import Headers

from cxrserve.api.connections import plain_address
from cxrserve.imaging.prepared import PreparedImage

_AUDITED: Final = frozenset(
    {"/predict", "/predict/study", "/triage", "/studies/{study}/images/{image}/predict"}
)
_PROBED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_KEY: Final = "cxrserve.record"
_HEX: Final = "[0-9a-f]"
_UUID: Final = re.compile(rf"{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}")
_TRACEPARENT: Final = re.compile(rf"00-((?!0{{32}}){_HEX}{{32}})-{_HEX}{{16}}-{_HEX}{{2}}")
_access: Final = logging.getLogger("cxrserve.access")
_audit: Final = logging.getLogger("cxrserve.audit")


@dataclass(kw_only=True, slots=True)
class Upload:
    """One uploaded file; rows, columns, format and warnings are known after it was decoded."""

    bytes: int
    sha256: str
    rows: int | None = None
    columns: int | None = None
    format: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(kw_only=True, slots=True)
class PatientData:
    """The patient data that a request concerns: for the audit trail, never for the log."""

    studies: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    accessions: list[str] = field(default_factory=list)
    query: str = ""

    def add(self, *, study: str = "", image: str = "", patient: str = "", accession: str = "") -> None:
        """Add what is not empty."""
        for values, value in (
            (self.studies, study),
            (self.images, image),
            (self.patients, patient),
            (self.accessions, accession),
        ):
            if value:
                values.append(value)


@dataclass(kw_only=True, slots=True)
class RequestRecord:
    """The log record of one request, from its headers to the end of its response.

    Attributes:
        address, client: of the sender; the client's name is empty without a token.
        patient: for the audit trail alone.
        trace: the trace id of the client's traceparent header (W3C Trace Context); empty without one.
        quiet: True to write no access line at the usual level: one of many refusals.
        audited: True where the work of the request has recorded its own event in the audit trail.
    """

    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=time.perf_counter)
    address: str = ""
    client: str = ""
    trace: str = ""
    quiet: bool = False
    audited: bool = False
    patient: PatientData = field(default_factory=PatientData, repr=False)
    outcome: str = "ok"
    model_sha256: str | None = None
    priority: str = "routine"
    uploads: list[Upload] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds since the request started."""
        return time.perf_counter() - self.started

    def received(self, data: bytes) -> None:
        """Add a complete upload."""
        self.uploads.append(Upload(bytes=len(data), sha256=sha256(data).hexdigest()))

    def answered(self, position: int, image: PreparedImage) -> None:
        """Add the decoded properties of the upload at `position`, and the codes of its warnings."""
        upload, about = self.uploads[position], image.about
        upload.warnings = tuple(str(warning.code) for warning in image.warnings)
        upload.rows, upload.columns, upload.format = about.rows, about.columns, about.format
        self.patient.add(study=about.study_instance_uid or "", image=about.sop_instance_uid or "")

    def write(self, *, method: str | None, path: str | None, status: int) -> None:
        """Write the access line and, for a prediction, one audit line per file.

        `path` is the route's template, never the path that was sent, which may contain anything.
        """
        common = {
            "request": self.request_id,
            "status": status,
            "outcome": self.outcome,
            "ms": round(self.seconds * 1000),
            **({"trace": self.trace} if self.trace else {}),
        }
        # Probes come every few seconds; only failures matter.
        level = logging.DEBUG if self.quiet or (path in _PROBED and status < 400) else logging.INFO
        _access.log(level, _line({"method": method, "path": path, **common}))
        if path not in _AUDITED or method != "POST":
            return
        uploads: list[Upload | None] = [*self.uploads] or [None]
        for position, upload in enumerate(uploads):
            _audit.info(
                _line(
                    {
                        **common,
                        "file": f"{position + 1}/{len(uploads)}" if upload else None,
                        "bytes": upload.bytes if upload else None,
                        "sha256": upload.sha256 if upload else None,
                        "rows": upload.rows if upload else None,
                        "columns": upload.columns if upload else None,
                        "format": upload.format if upload else None,
                        "model": self.model_sha256,
                        **({"priority": self.priority} if self.priority != "routine" else {}),
                        **({"warnings": ",".join(upload.warnings)} if upload and upload.warnings else {}),
                    }
                )
            )


def _line(fields: dict[str, object]) -> str:
    """`name=value` pairs. The client sends only hexadecimal ids, so no value has a blank or a line break."""
    return " ".join(f"{name}={'-' if value is None else value}" for name, value in fields.items())


def start_record(scope: MutableMapping[str, Any]) -> RequestRecord:
    """Create the record of a request and store it in its scope.

    The client's X-Request-ID is taken if it is a UUID, so that the logs of both sides can be joined.
    """
    client = scope.get("client")
    headers = Headers(scope=scope)
    trace = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    record = RequestRecord(
        address=plain_address(client[0]) if client else "", trace="" if trace is None else trace[1]
    )
    if _UUID.fullmatch(request_id := headers.get("x-request-id", "").lower()):
        record.request_id = request_id
    scope[_KEY] = record
    return record


def record_of(scope: MutableMapping[str, Any]) -> RequestRecord:
    """The record in the scope of a request."""
    record: RequestRecord = scope[_KEY]
    return record
