"""A study's result as FHIR R4: a DiagnosticReport that contains its Observations and what they are about.

Built with the R4B models of fhir.resources, which check it. One Observation for each finding, over all images
of the study by the bundle's rule; of several images, its members are the Observations of each. An Observation
is identified by the Tracking UID that the finding has in the structured report, and an image, which R4 has no
other resource for than Media, by its SOP Instance UID.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Final

from fhir.resources.R4B.device import Device
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.imagingstudy import ImagingStudy
from fhir.resources.R4B.media import Media
from fhir.resources.R4B.observation import Observation
from pydicom.sr.coding import Code

from cxrserve.ensemble.bundle import Bundle
from cxrserve.findings import FINDINGS, INDEX
from cxrserve.reports.dicom.codes import (
    ABSENT,
    PRESENT,
    PRIVATE_SCHEME_UID,
    PROBABILITY,
    THRESHOLD,
    coded,
    procedure,
)
from cxrserve.reports.dicom.identity import (
    MANUFACTURER,
    device_uid,
    software_versions,
    study_tracking,
    tracking,
)
from cxrserve.reports.dicom.objects import ImageSummary, Reference, Refusal
from cxrserve.reports.dicom.source import Source
from cxrserve.reports.dicom.study import StudyFinding, study_findings

MEDIA_TYPE: Final = "application/fhir+json"
DISCLAIMER: Final = "Research use only. Not a medical device: not for diagnosis. Not reviewed by a physician."

_SYSTEMS: Final = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "99CXRSERVE": f"urn:oid:{PRIVATE_SCHEME_UID}",
}
_MODALITIES: Final = {  # of projection radiographs, in DICOM's CID 29
    "CR": "Computed Radiography",
    "DX": "Digital Radiography",
    "RF": "Radiofluoroscopy",
    "RG": "Radiographic imaging",
    "OT": "Other",
}
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"
_UCUM: Final = "http://unitsofmeasure.org"
_DICOM_UID: Final = "urn:dicom:uid"

_Json = dict[str, Any]


def diagnostic_report(
    sources: Sequence[Source],
    summaries: Sequence[ImageSummary],
    refusals: Sequence[Refusal],
    bundle: Bundle,
    *,
    when: datetime.datetime,
) -> bytes:
    """The study's DiagnosticReport as JSON, status preliminary.

    Args:
        sources: headers of the images; patient, study date and accession number are taken from the first.
        summaries, refusals: the images that were judged, and those that were not.
        when: when the results were made.

    Raises:
        ValueError: it would not be valid FHIR.
    """
    source = sources[0]
    header = source.header
    findings = study_findings(summaries, bundle)
    subject = _subject(source)
    whole, of_images = _observations(source.study_instance_uid, findings, summaries, bundle)
    shared = {"subject": subject} | ({"effectiveDateTime": _started(source)} if _started(source) else {})
    images = [*(each.image for each in summaries), *(each.image for each in refusals)]
    accession = str(header.get("AccessionNumber") or "")
    report: _Json = {
        "id": f"cxrserve-{bundle.sha256[:16]}",
        "status": "preliminary",
        "category": [_concept("RAD", f"{_TERMINOLOGY}/v2-0074", "Radiology")],
        "code": _coded(procedure(len(summaries), len(refusals))),
        "subject": subject,
        "effectiveDateTime": _started(source),
        "issued": _aware(when).isoformat(timespec="seconds"),
        "identifier": [
            {"type": _concept("ACSN", f"{_TERMINOLOGY}/v2-0203", "Accession ID"), "value": accession}
        ]
        if accession
        else None,
        "imagingStudy": [{"reference": "#study"}],
        "media": [{"link": {"reference": f"#image-{each}"}} for each in range(1, len(summaries) + 1)] or None,
        "result": [{"reference": f"#{each['id']}"} for each in whole],
        "conclusion": _conclusion(findings, summaries, refusals),
        "conclusionCode": [_coded(_code(each.finding)) for each in findings if each.positive] or None,
        "contained": [
            Device(**_device(bundle)),
            ImagingStudy(**_imaging_study(sources, images, subject, _started(source))),
            *(Media(**_image(number, each, subject)) for number, each in enumerate(summaries, start=1)),
            *(Observation(**each, **shared) for each in (*whole, *of_images)),
        ],
    }
    made = DiagnosticReport(**{name: value for name, value in report.items() if value is not None})
    return bytes(made.model_dump_json(indent=1), "utf-8")


def _observations(
    study: str, findings: Sequence[StudyFinding], summaries: Sequence[ImageSummary], bundle: Bundle
) -> tuple[list[_Json], list[_Json]]:
    """One for each finding of the study; and, of several images, one for each finding of each image."""
    of_images: list[_Json] = []
    members: dict[str, list[_Json]] = {}
    for number, summary in enumerate(summaries if len(summaries) > 1 else (), start=1):
        for finding in summary.findings:
            if finding.probability is not None and finding.threshold is not None:
                name = f"image-{number}-finding-{INDEX[finding.finding] + 1}"
                _, uid = tracking(bundle, summary, finding.finding)
                said = (finding.probability, finding.threshold, finding.positive)
                of_images.append(_observation(name, uid, finding.finding, *said, [number]))
                members.setdefault(finding.finding, []).append({"reference": f"#{name}"})
    images = range(1, len(summaries) + 1)
    whole: list[_Json] = []
    for each in findings:
        only = summaries[0] if len(summaries) == 1 else None
        _, uid = tracking(bundle, only, each.finding) if only else study_tracking(bundle, study, each.finding)
        said = (each.probability, each.threshold, each.positive)
        made = _observation(f"finding-{INDEX[each.finding] + 1}", uid, each.finding, *said, images)
        if len(summaries) > 1:
            rule = f"{bundle.contract.study_rule} over {len(summaries)} images"
            made |= {"hasMember": members[each.finding], "method": {"text": f"{PROBABILITY.meaning}: {rule}"}}
        whole.append(made)
    return whole, of_images


def _observation(
    name: str,
    uid: str,
    finding: str,
    probability: float,
    threshold: float,
    positive: bool,
    images: Sequence[int],
) -> _Json:
    presence = PRESENT if positive else ABSENT
    level = ("POS", "Positive") if positive else ("NEG", "Negative")
    interpretation = _concept(level[0], f"{_TERMINOLOGY}/v3-ObservationInterpretation", level[1])
    interpretation["coding"].append(_coding(presence))
    return {
        "id": name,
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{uid}"}],
        "status": "preliminary",
        "category": [_concept("imaging", f"{_TERMINOLOGY}/observation-category", "Imaging")],
        "code": _coded(_code(finding)) | {"text": finding},
        "device": {"reference": "#device"},
        "derivedFrom": [{"reference": f"#{each}"} for each in ("study", *(f"image-{n}" for n in images))],
        "method": {"text": PROBABILITY.meaning},
        "valueQuantity": _number(probability),
        "interpretation": [interpretation],
        "component": [{"code": _coded(THRESHOLD), "valueQuantity": _number(threshold)}],
        "note": [{"text": DISCLAIMER}],
    }


def _image(number: int, summary: ImageSummary, subject: _Json) -> _Json:
    made: _Json = {
        "id": f"image-{number}",
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{summary.image.sop_instance_uid}"}],
        "partOf": [{"reference": "#study"}],
        "status": "completed",
        "type": _concept("image", f"{_TERMINOLOGY}/media-type", "Image"),
        "subject": subject,
        "height": summary.rows,
        "width": summary.columns,
        "content": {"contentType": "application/dicom"},
    }
    return made | ({"view": {"text": summary.view_position}} if summary.view_position else {})


def _device(bundle: Bundle) -> _Json:
    return {
        "id": "device",
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{device_uid(bundle)}"}],
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": bundle.contract.name, "type": "model-name"}],
        "serialNumber": bundle.sha256,
        "version": [{"value": version} for version in software_versions(bundle)],
        "note": [{"text": f"{bundle.contract.intended_use} {DISCLAIMER}"}],
    }


def _imaging_study(
    sources: Sequence[Source], images: Sequence[Reference], subject: _Json, started: str | None
) -> _Json:
    modality = {each.series_instance_uid: str(each.header.get("Modality")) for each in sources}
    series = [
        {
            "uid": uid,
            "modality": _modality(modality[uid]),
            "instance": [
                {
                    "uid": image.sop_instance_uid,
                    "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{image.sop_class_uid}"},
                }
                for image in images
                if image.series_instance_uid == uid
            ],
        }
        for uid in dict.fromkeys(image.series_instance_uid for image in images)
    ]
    made: _Json = {
        "id": "study",
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{sources[0].study_instance_uid}"}],
        "status": "available",
        "subject": subject,
        "numberOfSeries": len(series),
        "numberOfInstances": len(images),
        "series": series,
    }
    return made | ({"started": started} if started else {})


def _modality(value: str) -> _Json:
    """Modality (0008,0060) of a series; what is no radiograph's, such as SC, has no code there."""
    known = value if value in _MODALITIES else "OT"
    return {"system": _SYSTEMS["DCM"], "code": known, "display": _MODALITIES[known]}


def _subject(source: Source) -> _Json:
    """The patient by the identifier in the image: this service keeps no Patient resource."""
    header = source.header
    identifier: _Json = {"value": str(header.get("PatientID") or "unknown")}
    if issuer := header.get("IssuerOfPatientID"):
        identifier["assigner"] = {"display": str(issuer)}
    display = str(header.get("PatientName") or "").split("=")[0].replace("^", " ").strip()
    return {"type": "Patient", "identifier": identifier} | ({"display": display} if display else {})


def _started(source: Source) -> str | None:
    """Study Date as a FHIR dateTime; the time of day is left out, since its zone is not known."""
    date = str(source.header.get("StudyDate") or "")
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else None


def _conclusion(
    findings: Sequence[StudyFinding], summaries: Sequence[ImageSummary], refusals: Sequence[Refusal]
) -> str:
    positive = [f"{each.finding} {each.probability:.3f}" for each in findings if each.positive]
    parts = [DISCLAIMER]
    if summaries:
        parts.append(f"At or above the operating point: {', '.join(positive) or 'none'}.")
    told = {each.finding for each in findings}
    untold = [each.name for each in FINDINGS if summaries and each.name not in told]
    if untold:
        parts.append(f"Not told by this model: {', '.join(untold)}.")
    parts += [
        f"Image {each.image.sop_instance_uid} was not analysed: {each.title}. {each.detail}"
        for each in refusals
    ]
    return " ".join(parts)


def _code(finding: str) -> Code:
    return coded(FINDINGS[INDEX[finding]].code)


def _coded(code: Code) -> _Json:
    return {"coding": [_coding(code)]}


def _coding(code: Code) -> _Json:
    return {"system": _SYSTEMS[code.scheme_designator], "code": code.value, "display": code.meaning}


def _concept(code: str, system: str, display: str) -> _Json:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _number(value: float) -> _Json:
    return {"value": round(value, 6), "unit": "1", "system": _UCUM, "code": "1"}


def _aware(when: datetime.datetime) -> datetime.datetime:
    return when if when.tzinfo else when.astimezone()
