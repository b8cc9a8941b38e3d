"""A study's result as FHIR R4: a DiagnosticReport that contains its Observations, device and images.

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

from cxrserve.bundle.contract import Bundle
from cxrserve.findings import FINDINGS, INDEX
from cxrserve.reports.conclusion import conclusion
from cxrserve.reports.dicom.codes import (
    ABSENT,
    PRESENT,
    PRIVATE_SCHEME_UID,
    PROBABILITY,
    THRESHOLD,
    UNDECIDED,
    coded,
    presence,
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
from cxrserve.reports.notices import REPORT_DISCLAIMER

MEDIA_TYPE: Final = "application/fhir+json"

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
# Of v3-ObservationInterpretation: code and display.
_INTERPRETATIONS: Final = {
    PRESENT: ("POS", "Positive"),
    ABSENT: ("NEG", "Negative"),
    UNDECIDED: ("IND", "Indeterminate"),
}
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
        summaries, refusals: the images that were analysed, and those that were not.
        when: the time of the results.

    Raises:
        ValueError: it would not be valid FHIR.
    """
    source = sources[0]
    header = source.header
    findings = study_findings(summaries, bundle)
    subject = _subject(source)
    of_study, of_images = _observations(source.study_instance_uid, findings, summaries, bundle)
    shared = {"subject": subject} | ({"effectiveDateTime": _started(source)} if _started(source) else {})
    images = [*(summary.image for summary in summaries), *(refusal.image for refusal in refusals)]
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
        "media": [{"link": {"reference": f"#image-{number}"}} for number in range(1, len(summaries) + 1)]
        or None,
        "result": [{"reference": f"#{observation['id']}"} for observation in of_study],
        "conclusion": conclusion(findings, summaries, refusals),
        "conclusionCode": [_coded(_code(finding.finding)) for finding in findings if finding.positive]
        or None,
        "contained": [
            Device(**_device(bundle)),
            ImagingStudy(**_imaging_study(sources, images, subject, _started(source))),
            *(Media(**_image(number, summary, subject)) for number, summary in enumerate(summaries, start=1)),
            *(Observation(**observation, **shared) for observation in (*of_study, *of_images)),
        ],
    }
    resource = DiagnosticReport(**{name: value for name, value in report.items() if value is not None})
    return bytes(resource.model_dump_json(indent=1), "utf-8")


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
                values = (
                    finding.probability,
                    finding.threshold,
                    presence(finding.decision, finding.positive),
                )
                of_images.append(_observation(name, uid, finding.finding, *values, [number]))
                members.setdefault(finding.finding, []).append({"reference": f"#{name}"})
    images = range(1, len(summaries) + 1)
    of_study: list[_Json] = []
    for result in findings:
        name = result.finding
        only = summaries[0] if len(summaries) == 1 else None
        _, uid = tracking(bundle, only, name) if only else study_tracking(bundle, study, name)
        ensemble = (result.probability, result.threshold, presence(result.decision, result.positive))
        observation = _observation(f"finding-{INDEX[name] + 1}", uid, name, *ensemble, images)
        if len(summaries) > 1:
            rule = f"{bundle.contract.study_rule} over {len(summaries)} images"
            method = {"text": f"{PROBABILITY.meaning}: {rule}"}
            observation |= {"hasMember": members[name], "method": method}
        of_study.append(observation)
    return of_study, of_images


def _observation(
    name: str,
    uid: str,
    finding: str,
    probability: float,
    threshold: float,
    answer: Code,
    images: Sequence[int],
) -> _Json:
    level = _INTERPRETATIONS[answer]
    interpretation = _concept(level[0], f"{_TERMINOLOGY}/v3-ObservationInterpretation", level[1])
    interpretation["coding"].append(_coding(answer))
    return {
        "id": name,
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{uid}"}],
        "status": "preliminary",
        "category": [_concept("imaging", f"{_TERMINOLOGY}/observation-category", "Imaging")],
        "code": _coded(_code(finding)) | {"text": finding},
        "device": {"reference": "#device"},
        "derivedFrom": [{"reference": f"#{anchor}"} for anchor in ("study", *(f"image-{n}" for n in images))],
        "method": {"text": PROBABILITY.meaning},
        "valueQuantity": _number(probability),
        "interpretation": [interpretation],
        "component": [{"code": _coded(THRESHOLD), "valueQuantity": _number(threshold)}],
        "note": [{"text": REPORT_DISCLAIMER}],
    }


def _image(number: int, summary: ImageSummary, subject: _Json) -> _Json:
    media: _Json = {
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
    return media | ({"view": {"text": summary.view_position}} if summary.view_position else {})


def _device(bundle: Bundle) -> _Json:
    return {
        "id": "device",
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{device_uid(bundle)}"}],
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": bundle.contract.name, "type": "model-name"}],
        "serialNumber": bundle.sha256,
        "version": [{"value": version} for version in software_versions(bundle)],
        "note": [{"text": f"{bundle.contract.intended_use} {REPORT_DISCLAIMER}"}],
    }


def _imaging_study(
    sources: Sequence[Source], images: Sequence[Reference], subject: _Json, started: str | None
) -> _Json:
    modality = {source.series_instance_uid: str(source.header.get("Modality")) for source in sources}
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
    resource: _Json = {
        "id": "study",
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{sources[0].study_instance_uid}"}],
        "status": "available",
        "subject": subject,
        "numberOfSeries": len(series),
        "numberOfInstances": len(images),
        "series": series,
    }
    return resource | ({"started": started} if started else {})


def _modality(value: str) -> _Json:
    """Modality (0008,0060) of a series; one that is no radiograph's, such as SC, becomes OT."""
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
