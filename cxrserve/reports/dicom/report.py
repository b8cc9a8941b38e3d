"""The structured report of a study: one SR with root TID 1500 (PS3.16), as in IHE AIR.

It begins with the notice and the conclusion, for a person who reads it. The templates leave the order of
their rows open: here the answer comes first in each group, and identifiers and parameters last. Findings
stand in clinical order.

For each image 14 image-level findings (TID 1501) and those located (TID 1410); over several images the
study's own by the bundle's rule; for each refused image a group with the reason.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from cxrserve.bundle.contract import Bundle
from cxrserve.findings import CLINICAL_ORDER, FINDINGS, INDEX
from cxrserve.reports.conclusion import conclusion
from cxrserve.reports.dicom.codes import (
    COMMENT,
    CONCLUSION,
    ENGLISH,
    GRAD_CAM,
    MAXIMUM,
    MEAN,
    MEASUREMENT_METHOD,
    NOT_ATTEMPTED,
    PROBABILITY,
    SUMMARY_OF_ANALYSES,
    THRESHOLD,
    VISUAL_EXPLANATION,
    coded,
    presence,
    procedure,
)
from cxrserve.reports.dicom.content import (
    CONTENT_SEQUENCE,
    code_item,
    container,
    image_item,
    number_item,
    outline_item,
    text_item,
    uid_item,
)
from cxrserve.reports.dicom.document import ReportDocument, private_scheme, requests
from cxrserve.reports.dicom.elements import sequence
from cxrserve.reports.dicom.identity import (
    MANUFACTURER,
    device_uid,
    made_uid,
    plain,
    study_tracking,
    tracking,
)
from cxrserve.reports.dicom.instance import finished, series_arguments
from cxrserve.reports.dicom.objects import DicomObject, FindingSummary, ImageSummary, Reference, Refusal
from cxrserve.reports.dicom.source import Source
from cxrserve.reports.dicom.study import StudyFinding, study_findings

_MAX_TEXT: Final = 4096  # of one text item

_Finding = TypeVar("_Finding", FindingSummary, StudyFinding)


def study_report(
    sources: Sequence[Source],
    summaries: Sequence[ImageSummary],
    refusals: Sequence[Refusal],
    bundle: Bundle,
    when: datetime.datetime,
    *,
    revision: int = 1,
    predecessor: Reference | None = None,
) -> DicomObject:
    """The report of a study.

    Args:
        sources: headers of its images, at least one; patient and study are taken from the first.
        summaries: of the images that were analysed.
        refusals: of those that were not.
        revision: 1, 2, … as late images make another report necessary.
        predecessor: the report of this study that this one replaces.

    Raises:
        ValueError: nothing to report, or images of several studies.
    """
    if not sources or not (summaries or refusals):
        raise ValueError("a report needs a source, and a summary or a refusal")
    first = sources[0]
    study = first.study_instance_uid
    studies = {source.study_instance_uid for source in sources} | {
        summary.study_instance_uid for summary in summaries
    }
    if studies != {study}:
        raise ValueError("the images of one report must belong to one study")
    groups = [
        group
        for summary in summaries
        for group in (*_image_level(summary, bundle), *_located(summary, bundle))
    ]
    findings = study_findings(summaries, bundle)
    if len(summaries) > 1:
        groups = [_study_level(finding, study, bundle) for finding in _in_clinical_order(findings)] + groups
    groups += [_refused(refusal, bundle) for refusal in refusals]
    content = [
        *_head(findings, summaries, refusals),
        code_item(codes.DCM.LanguageOfContentItemAndDescendants, ENGLISH, "HAS CONCEPT MOD"),
        *_device(bundle),
        code_item(codes.DCM.ProcedureReported, procedure(len(summaries), len(refusals)), "HAS CONCEPT MOD"),
        container(codes.DCM.ImagingMeasurements, "", groups),
        *(_comment(text) for text in _comments(summaries, bundle)),
    ]
    images = [*(summary.image for summary in summaries), *(refusal.image for refusal in refusals)]
    references = [*images, *(summary.overlay for summary in summaries if summary.overlay)]
    arguments = series_arguments("report", first, bundle, when)
    document = ReportDocument(
        codes.DCM.ImagingMeasurementReport,
        "1500",
        references,
        requests(first),
        study,
        predecessor=predecessor,
        coding_schemes=[private_scheme()],
        **(arguments | {"instance_number": revision}),
    )
    encoded = {CONTENT_SEQUENCE: sequence(CONTENT_SEQUENCE, content)}
    return finished(document, "report", first, bundle, when, encoded=encoded)


def _image_level(summary: ImageSummary, bundle: Bundle) -> Iterator[bytes]:
    """TID 1501, one for each finding that the bundle knows."""
    for finding in _in_clinical_order(summary.findings):
        if finding.probability is None or finding.threshold is None:
            continue
        yield _group(
            "1501",
            code_item(codes.DCM.Finding, _concept(finding.finding)),
            _presence(finding),
            _comment(_scales(finding)),
            *_numbers(finding.probability, finding.threshold),
            image_item(codes.DCM.SourceOfMeasurement, summary.image),
            *_tracking(tracking(bundle, summary, finding.finding)),
            *_algorithm(bundle, summary.profile),
        )


def _located(summary: ImageSummary, bundle: Bundle) -> Iterator[bytes]:
    """TID 1410: the regions with evidence for the positive findings."""
    sop_class = UID(summary.image.sop_class_uid)
    if sop_class.name == sop_class:  # a private class: nobody can say what its coordinates mean
        return
    for finding in _in_clinical_order(summary.findings):
        if finding.probability is None or finding.threshold is None:
            continue
        for number, region in enumerate(finding.regions):
            heatmap = finding.heatmap
            yield _group(
                "1410",
                code_item(codes.DCM.Finding, _concept(finding.finding)),
                code_item(MEASUREMENT_METHOD, GRAD_CAM),
                _presence(finding),
                *([] if heatmap is None else [_comment(f"Evidence (Grad-CAM): {heatmap}.")]),
                *_numbers(finding.probability, finding.threshold),
                *([image_item(VISUAL_EXPLANATION, summary.overlay)] if summary.overlay else []),
                outline_item(codes.DCM.ImageRegion, region.points, summary.image),
                *_tracking(tracking(bundle, summary, finding.finding, number)),
                *_algorithm(bundle, summary.profile),
            )


def _study_level(finding: StudyFinding, study: str, bundle: Bundle) -> bytes:
    derivation = MAXIMUM if bundle.contract.study_rule == "maximum" else MEAN
    return _group(
        "1501",
        code_item(codes.DCM.Finding, _concept(finding.finding)),
        _presence(finding),
        *_numbers(finding.probability, finding.threshold, derivation),
        *_tracking(study_tracking(bundle, study, finding.finding)),
        *_algorithm(bundle, None),
    )


def _refused(refusal: Refusal, bundle: Bundle) -> bytes:
    """A group for an image that was not analysed, with the reason."""
    uid = made_uid("refusal", bundle.sha256, refusal.image.sop_instance_uid)
    return _group(
        "1501",
        code_item(SUMMARY_OF_ANALYSES, NOT_ATTEMPTED),
        _comment(f"Not analysed ({refusal.slug}): {refusal.title}. {refusal.detail}"),
        image_item(codes.DCM.SourceOfMeasurement, refusal.image),
        *_tracking(("Image not analysed", uid)),
        *_algorithm(bundle, None),
    )


def _group(template: str, *items: bytes) -> bytes:
    """A measurement group, in the order for reading: answer, text, numbers, place, parameters.

    Many viewers print numbers without their names, so the text holds them too.
    """
    return container(codes.DCM.MeasurementGroup, template, items)


def _numbers(probability: float, threshold: float, derivation: Code | None = None) -> list[bytes]:
    return [
        number_item(PROBABILITY, round(probability, 6), derivation),
        number_item(THRESHOLD, round(threshold, 6)),
    ]


def _presence(finding: FindingSummary | StudyFinding) -> bytes:
    """The finding is the question, and its presence the answer: present, absent or undecided."""
    return code_item(_concept(finding.finding), presence(finding.decision, finding.positive))


def _concept(finding: str) -> Code:
    return coded(FINDINGS[INDEX[finding]].code)


def _tracking(identity: tuple[str, str]) -> list[bytes]:
    identifier, uid = identity
    return [
        text_item(codes.DCM.TrackingIdentifier, identifier, "HAS OBS CONTEXT"),
        uid_item(codes.DCM.TrackingUniqueIdentifier, uid),
    ]


def _algorithm(bundle: Bundle, profile: str | None) -> list[bytes]:
    """TID 4019."""
    parameters = [f"bundle sha256 {bundle.sha256}", *([f"profile {profile}"] if profile else [])]
    if bundle.site is not None:
        parameters.append(f"{bundle.site}, sha256 {bundle.site.sha256}")
    named = [
        (codes.DCM.AlgorithmName, bundle.contract.name),
        (codes.DCM.AlgorithmVersion, bundle.contract.version),
        *((codes.DCM.AlgorithmParameters, parameter) for parameter in parameters),
    ]
    return [text_item(name, text, "HAS CONCEPT MOD") for name, text in named]


def _device(bundle: Bundle) -> list[bytes]:
    """The observer: this program with its bundle (TID 1002, TID 1004)."""
    named = [
        (codes.DCM.DeviceObserverName, MANUFACTURER),
        (codes.DCM.DeviceObserverManufacturer, MANUFACTURER),
        (codes.DCM.DeviceObserverModelName, bundle.contract.name),
        (codes.DCM.DeviceObserverSerialNumber, bundle.sha256),
    ]
    return [
        code_item(codes.DCM.ObserverType, codes.DCM.Device, "HAS OBS CONTEXT"),
        uid_item(codes.DCM.DeviceObserverUID, device_uid(bundle)),
        *(text_item(name, text, "HAS OBS CONTEXT") for name, text in named),
    ]


def _scales(finding: FindingSummary) -> str:
    parts = (
        f"{scale.size} px: probability {scale.probability:.4f}, weight {scale.weight:.4f}"
        for scale in finding.scales
    )
    figures = f"Probability {finding.probability:.4f}, operating point {finding.threshold:.4f}."
    if finding.score is not None and finding.score != finding.probability:
        figures += f" Score before calibration {finding.score:.4f}."
    if finding.heatmap is not None:
        figures += f" Evidence (Grad-CAM): {finding.heatmap}."
    return f"{figures} Scales: {'; '.join(parts)}"


def _comments(summaries: Sequence[ImageSummary], bundle: Bundle) -> Iterator[str]:
    contract = bundle.contract
    yield f"Model {contract.name} {contract.version}, bundle sha256 {bundle.sha256}. {contract.intended_use}"
    for number, summary in enumerate(summaries, start=1):
        uid = summary.image.sop_instance_uid
        yield f"Image {number} ({uid}), profile {summary.profile}: {', '.join(summary.applied)}."


def _head(
    findings: Sequence[StudyFinding], summaries: Sequence[ImageSummary], refusals: Sequence[Refusal]
) -> list[bytes]:
    """The first items of the report: the conclusion, which begins with the notice, and all warnings."""
    warnings = [
        f"Warning, image {number}: {warning.message}"
        for number, summary in enumerate(summaries, start=1)
        for warning in summary.warnings
    ]
    return [_text(CONCLUSION, conclusion(findings, summaries, refusals)), *map(_comment, warnings)]


def _in_clinical_order(findings: Iterable[_Finding]) -> list[_Finding]:
    return sorted(findings, key=lambda finding: CLINICAL_ORDER.index(finding.finding))


def _comment(text: str) -> bytes:
    return _text(COMMENT, text)


def _text(name: Code, text: str) -> bytes:
    return text_item(name, plain(text)[:_MAX_TEXT])
