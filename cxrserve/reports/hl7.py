"""A study's result as an HL7 v2.5.1 message, ORU^R01^ORU_R01: patient, order, findings and conclusion.

The fields that name sender and receiver (MSH-3 to MSH-6, MSH-11, MSH-18) are empty here, and are filled in
where the message is sent. All else, the control ID in MSH-10 too, is made from the structured report: a
message that is sent twice is the same message, and a receiver keeps it once.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

import hl7
from pydicom.sr.coding import Code

from cxrserve.bundle.contract import Bundle
from cxrserve.findings import FINDINGS, INDEX
from cxrserve.reports.conclusion import conclusion
from cxrserve.reports.dicom.codes import coded, procedure
from cxrserve.reports.dicom.identity import MANUFACTURER, device_uid
from cxrserve.reports.dicom.objects import DicomObject, ImageSummary, Refusal
from cxrserve.reports.dicom.patient import Patient
from cxrserve.reports.dicom.source import Source
from cxrserve.reports.dicom.study import StudyFinding, study_findings

_MAX_CONTROL_ID: Final = 20  # MSH-10 before HL7 v2.7
_SYSTEMS: Final = {"LN": "LN", "SCT": "SCT", "DCM": "DCM"}  # table 0396
_IMPRESSION: Final = Code("19005-8", "LN", "Radiology Imaging study [Impression] (narrative)")
_STUDY: Final = Code("113014", "DCM", "DICOM Study")
_PRELIMINARY: Final = "P"  # tables 0123 and 0085
_FLAGS: Final = {"present": "A", "absent": "N", "undecided": ""}  # table 0078
_ESCAPES: Final = {
    "\\": "\\E\\",
    "|": "\\F\\",
    "^": "\\S\\",
    "&": "\\T\\",
    "~": "\\R\\",
    "\r": "\\.br\\",
    "\n": "\\.br\\",
}

# A field without repetitions; a tuple has components, which are escaped already.
Value = str | tuple[str, ...]


def oru_message(
    sources: Sequence[Source],
    summaries: Sequence[ImageSummary],
    refusals: Sequence[Refusal],
    bundle: Bundle,
    patient: Patient,
    report: DicomObject,
    *,
    when: datetime.datetime,
) -> str:
    """The message as text, with a carriage return after each segment.

    Args:
        sources: headers of the images; study date and description are taken from the first.
        patient: the patient and the order of the study.
        report: the structured report of this revision.
        when: the time of the results.
    """
    source = sources[0]
    findings = study_findings(summaries, bundle)
    now = when.astimezone(datetime.UTC).strftime("%Y%m%d%H%M%S+0000")
    service = procedure(len(summaries), len(refusals))
    segments = [
        _header(now, report),
        _segment(
            "PID", "1", "", _identifier(patient), "", _name(patient.name), "", patient.birth_date, patient.sex
        ),
        _segment(
            "OBR",
            *("1", "", patient.accession_number, _code(service), "", "", _performed(source), "", "", "", ""),
            *("", "", "", "", "", "", "", "", "", "", now, "", "RAD", _PRELIMINARY),
        ),
    ]
    values = [
        ("ST", _code(_STUDY), source.study_instance_uid, "", ""),
        ("TX", _code(_IMPRESSION), conclusion(findings, summaries, refusals), "", ""),
        *_findings(findings),
    ]
    device = (_escaped(device_uid(bundle)), "", _escaped(MANUFACTURER), "")
    for number, (kind, code, value, limit, flag) in enumerate(values, start=1):
        segments.append(
            _segment(
                "OBX",
                *(str(number), kind, code, "", value, "1" if kind == "NM" else "", limit, flag, "", ""),
                *(_PRELIMINARY, "", "", now, "", "", "", device),
            )
        )
    return "".join(f"{segment}\r" for segment in segments)


def _findings(findings: Sequence[StudyFinding]) -> Iterator[tuple[str, Value, str, str, str]]:
    """Value type, code, probability, range below the operating point, and flag of each finding."""
    for finding in findings:
        code = _code(coded(FINDINGS[INDEX[finding.finding]].code))
        yield (
            "NM",
            code,
            f"{finding.probability:.6f}",
            f"<{finding.threshold:.6f}",
            _FLAGS[finding.decision or ("present" if finding.positive else "absent")],
        )


def _header(now: str, report: DicomObject) -> hl7.Segment:
    control_id = sha256(report.sop_instance_uid.encode()).hexdigest()[:_MAX_CONTROL_ID].upper()
    fields: list[Value] = [
        "",
        "",
        "",
        "",
        now,
        "",
        ("ORU", "R01", "ORU_R01"),
        control_id,
        "",
        "2.5.1",
        "",
        "",
        "",
        "",
        "",
        "",
    ]
    separators = [hl7.Field("", ["MSH"]), hl7.Field("", ["|"]), hl7.Field("", ["^~\\&"])]
    return hl7.Segment("|", [*separators, *map(_field, fields)])


def _segment(name: str, *values: Value) -> hl7.Segment:
    return hl7.Segment("|", [hl7.Field("~", [name]), *map(_field, values)])


def _field(value: Value) -> hl7.Field:
    """A field; its text is escaped here."""
    content = value if isinstance(value, tuple) else (_escaped(value),)
    return hl7.Field("~", [hl7.Repetition("^", [*content])])


def _code(code: Code) -> tuple[str, ...]:
    system = _SYSTEMS.get(code.scheme_designator, code.scheme_designator)
    return _escaped(code.value), _escaped(code.meaning), _escaped(system)


def _identifier(patient: Patient) -> tuple[str, ...]:
    return _escaped(patient.patient_id), "", "", _escaped(patient.issuer), "PI"


def _name(name: str) -> tuple[str, ...]:
    """The alphabetic group of a DICOM name as XPN, which has suffix and prefix the other way round."""
    parts = [*name.partition("=")[0].split("^"), "", "", "", "", ""]
    family, given, middle, prefix, suffix = parts[:5]
    return tuple(map(_escaped, (family, given, middle, suffix, prefix)))


def _performed(source: Source) -> str:
    date = str(source.header.get("StudyDate") or "")
    time = str(source.header.get("StudyTime") or "").partition(".")[0]
    return date + time if date and len(time) in (4, 6) else date


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
