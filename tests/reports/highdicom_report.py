"""A study's report built with highdicom's classes and written by pydicom: what ours is compared with."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from cxrserve.bundle.contract import Bundle
from cxrserve.findings import CLINICAL_ORDER, FINDINGS, INDEX
from cxrserve.reports.conclusion import conclusion
from cxrserve.reports.dicom.codes import (
    COMMENT,
    CONCLUSION,
    GRAD_CAM,
    MAXIMUM,
    MEAN,
    NOT_ATTEMPTED,
    PROBABILITY,
    SUMMARY_OF_ANALYSES,
    THRESHOLD,
    UNITY,
    VISUAL_EXPLANATION,
    coded,
    presence,
    procedure,
)
from cxrserve.reports.dicom.document import ReportDocument, private_scheme, requests
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
_Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations


def report_of_highdicom(
    sources: Sequence[Source],
    summaries: Sequence[ImageSummary],
    refusals: Sequence[Refusal],
    bundle: Bundle,
    when: datetime.datetime,
    *,
    revision: int = 1,
    predecessor: Reference | None = None,
) -> DicomObject:
    """The report of a study, with highdicom's content items, written by pydicom."""
    first = sources[0]
    study = first.study_instance_uid
    groups = [
        group
        for summary in summaries
        for group in (*_image_level(summary, bundle), *_located(summary, bundle))
    ]
    findings = study_findings(summaries, bundle)
    if len(summaries) > 1:
        groups = [_study_level(finding, study, bundle) for finding in _in_clinical_order(findings)] + groups
    groups += [_refused(refusal, bundle) for refusal in refusals]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_device(bundle)),
        procedure_reported=CodedConcept.from_code(procedure(len(summaries), len(refusals))),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    root = content[0].ContentSequence
    for group in groups:
        _put_answer_first(group[0])
    for item in reversed(_head(findings, summaries, refusals)):
        root.insert(0, item)
    for text in _comments(summaries, bundle):
        root.append(_comment(text))
    images = [*(summary.image for summary in summaries), *(refusal.image for refusal in refusals)]
    references = [*images, *(summary.overlay for summary in summaries if summary.overlay)]
    document = ReportDocument(
        codes.DCM.ImagingMeasurementReport,
        "1500",
        references,
        requests(first),
        study,
        predecessor=predecessor,
        coding_schemes=[private_scheme()],
        **(series_arguments("report", first, bundle, when) | {"instance_number": revision}),
    )
    document.update(content[0])
    return finished(document, "report", first, bundle, when)


def _image_level(summary: ImageSummary, bundle: Bundle) -> Iterator[_Group]:
    """TID 1501, one for each finding that the bundle knows."""
    image = summary.image
    for finding in _in_clinical_order(summary.findings):
        if finding.probability is None or finding.threshold is None:
            continue
        identifier, uid = tracking(bundle, summary, finding.finding)
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid=uid, identifier=identifier),
            finding_type=_concept(finding.finding),
            algorithm_id=_algorithm(bundle, summary.profile),
            source_images=[SourceImageForMeasurementGroup(image.sop_class_uid, image.sop_instance_uid)],
            measurements=_measurements(finding.probability, finding.threshold),
            qualitative_evaluations=[
                _presence(finding.finding, presence(finding.decision, finding.positive))
            ],
        )
        _append(group, _comment(_scales(finding)))
        yield group


def _located(summary: ImageSummary, bundle: Bundle) -> Iterator[_Group]:
    """TID 1410: the regions with evidence for the positive findings."""
    image = summary.image
    sop_class = UID(image.sop_class_uid)
    if sop_class.name == sop_class:  # a private class: highdicom cannot say what its coordinates mean
        return
    for finding in _in_clinical_order(summary.findings):
        if finding.probability is None or finding.threshold is None:
            continue
        for number, region in enumerate(finding.regions):
            identifier, uid = tracking(bundle, summary, finding.finding, number)
            group = PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(uid=uid, identifier=identifier),
                referenced_region=ImageRegion(
                    graphic_type="POLYLINE",
                    graphic_data=np.array(region.points),
                    source_image=SourceImageForRegion(image.sop_class_uid, image.sop_instance_uid),
                ),
                finding_type=_concept(finding.finding),
                method=CodedConcept.from_code(GRAD_CAM),
                algorithm_id=_algorithm(bundle, summary.profile),
                measurements=_measurements(finding.probability, finding.threshold),
                qualitative_evaluations=[
                    _presence(finding.finding, presence(finding.decision, finding.positive))
                ],
            )
            if finding.heatmap is not None:
                _append(group, _comment(f"Evidence (Grad-CAM): {finding.heatmap}."))
            if summary.overlay:
                _append(group, _explanation(summary.overlay))
            yield group


def _study_level(finding: StudyFinding, study: str, bundle: Bundle) -> _Group:
    derivation = MAXIMUM if bundle.contract.study_rule == "maximum" else MEAN
    identifier, uid = study_tracking(bundle, study, finding.finding)
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid, identifier=identifier),
        finding_type=_concept(finding.finding),
        algorithm_id=_algorithm(bundle, None),
        measurements=_measurements(finding.probability, finding.threshold, derivation=derivation),
        qualitative_evaluations=[_presence(finding.finding, presence(finding.decision, finding.positive))],
    )


def _refused(refusal: Refusal, bundle: Bundle) -> _Group:
    """A group for an image that was not analysed, with the reason."""
    image = refusal.image
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=made_uid("refusal", bundle.sha256, image.sop_instance_uid), identifier="Image not analysed"
        ),
        algorithm_id=_algorithm(bundle, None),
        source_images=[SourceImageForMeasurementGroup(image.sop_class_uid, image.sop_instance_uid)],
        qualitative_evaluations=[
            QualitativeEvaluation(
                name=CodedConcept.from_code(SUMMARY_OF_ANALYSES), value=CodedConcept.from_code(NOT_ATTEMPTED)
            )
        ],
    )
    _append(group, _comment(f"Not analysed ({refusal.slug}): {refusal.title}. {refusal.detail}"))
    return group


def _measurements(probability: float, threshold: float, **more: Any) -> list[Measurement]:
    unit = CodedConcept.from_code(UNITY)
    return [
        Measurement(name=CodedConcept.from_code(PROBABILITY), value=round(probability, 6), unit=unit, **more),
        Measurement(name=CodedConcept.from_code(THRESHOLD), value=round(threshold, 6), unit=unit),
    ]


def _presence(finding: str, answer: Code) -> QualitativeEvaluation:
    """The finding is the question, and its presence the answer: present, absent or undecided."""
    return QualitativeEvaluation(name=_concept(finding), value=CodedConcept.from_code(answer))


def _concept(finding: str) -> CodedConcept:
    return CodedConcept.from_code(coded(FINDINGS[INDEX[finding]].code))


def _algorithm(bundle: Bundle, profile: str | None) -> AlgorithmIdentification:
    parameters = [f"bundle sha256 {bundle.sha256}", *([f"profile {profile}"] if profile else [])]
    if bundle.site is not None:
        parameters.append(f"{bundle.site}, sha256 {bundle.site.sha256}")
    return AlgorithmIdentification(
        name=bundle.contract.name, version=plain(bundle.contract.version), parameters=parameters
    )


def _device(bundle: Bundle) -> ObserverContext:
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid(bundle),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=bundle.contract.name,
            serial_number=bundle.sha256,
        ),
    )


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
) -> list[Dataset]:
    """The first items of the report: the conclusion, which begins with the notice, and all warnings."""
    text = plain(conclusion(findings, summaries, refusals))
    warnings = [
        f"Warning, image {number}: {warning.message}"
        for number, summary in enumerate(summaries, start=1)
        for warning in summary.warnings
    ]
    return [_text(CONCLUSION, text), *map(_comment, warnings)]


def _put_answer_first(group: Dataset) -> None:
    """Order the items of a measurement group for reading: answer, text, numbers, place, parameters.

    Many viewers print numbers without their names, so the text holds them too.
    """
    kinds = {"CODE": 0, "TEXT": 1, "NUM": 2, "IMAGE": 3, "SCOORD": 4}

    def rank(item: Dataset) -> int:
        is_parameter = item.RelationshipType in ("HAS CONCEPT MOD", "HAS OBS CONTEXT")
        return 5 if is_parameter else kinds.get(item.ValueType, 4)

    group.ContentSequence = sorted(group.ContentSequence, key=rank)


def _in_clinical_order(findings: Iterable[_Finding]) -> list[_Finding]:
    return sorted(findings, key=lambda finding: CLINICAL_ORDER.index(finding.finding))


def _comment(text: str) -> TextContentItem:
    return _text(COMMENT, text)


def _text(name: Code, text: str) -> TextContentItem:
    return TextContentItem(
        name=CodedConcept.from_code(name),
        value=plain(text)[:_MAX_TEXT],
        relationship_type="CONTAINS",
    )


def _explanation(overlay: Reference) -> ImageContentItem:
    return ImageContentItem(
        name=CodedConcept.from_code(VISUAL_EXPLANATION),
        referenced_sop_class_uid=overlay.sop_class_uid,
        referenced_sop_instance_uid=overlay.sop_instance_uid,
        relationship_type="CONTAINS",
    )


def _append(group: _Group, item: Dataset) -> None:
    group[0].ContentSequence.append(item)
