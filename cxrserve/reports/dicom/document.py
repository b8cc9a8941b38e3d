"""The document modules of a structured report: status, evidence, orders, our coding scheme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highdicom.base import SOPClass
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from cxrserve.reports.dicom.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_UID
from cxrserve.reports.dicom.objects import Reference
from cxrserve.reports.dicom.source import Source


class ReportDocument(SOPClass):
    """SR Document Series, General and Content (PS3.3 C.17) without the content items below the root.

    highdicom's Comprehensive3DSR builds each item as a data set and copies all of them twice, which takes
    more than all else that is done for a radiograph. `content.py` makes the items.
    """

    def __init__(
        self,
        title: Code,
        template: str,
        evidence: Sequence[Reference],
        orders: Sequence[Dataset],
        study: str,
        *,
        predecessor: Reference | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(
            study_instance_uid=study,
            sop_class_uid=Comprehensive3DSRStorage,
            modality="SR",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **arguments,
        )
        # Nobody has looked at it: neither verified nor final.
        self.CompletionFlag, self.VerificationFlag, self.PreliminaryFlag = (
            "COMPLETE",
            "UNVERIFIED",
            "PRELIMINARY",
        )
        self.ValueType, self.ContinuityOfContent = "CONTAINER", "CONTINUOUS"
        self.ConceptNameCodeSequence = [_code(title)]
        self.ContentTemplateSequence = [_template(template)]
        self.CurrentRequestedProcedureEvidenceSequence = [_evidence(study, evidence)]
        self.PerformedProcedureCodeSequence: list[Dataset] = []
        self.ReferencedPerformedProcedureStepSequence: list[Dataset] = []
        if orders:
            self.ReferencedRequestSequence = orders
        if predecessor is not None:  # this document replaces it
            self.PredecessorDocumentsSequence = [_evidence(study, [predecessor])]


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    return item


def _template(identifier: str) -> Dataset:
    item = Dataset()
    item.MappingResource, item.TemplateIdentifier = "DCMR", identifier
    return item


def _evidence(study: str, references: Sequence[Reference]) -> Dataset:
    """Every instance that the content refers to, by series (PS3.3 C.17.2, Hierarchical SOP Reference)."""
    evidence = Dataset()
    evidence.StudyInstanceUID = study
    evidence.ReferencedSeriesSequence = []
    for series in dict.fromkeys(reference.series_instance_uid for reference in references):
        item = Dataset()
        item.SeriesInstanceUID = series
        item.ReferencedSOPSequence = []
        for reference in references:
            if reference.series_instance_uid == series:
                instance = Dataset()
                instance.ReferencedSOPClassUID = reference.sop_class_uid
                instance.ReferencedSOPInstanceUID = reference.sop_instance_uid
                item.ReferencedSOPSequence.append(instance)
        evidence.ReferencedSeriesSequence.append(item)
    return evidence


def requests(source: Source) -> list[Dataset]:
    """The orders that the image names, so that the report finds its way to them (PS3.3 C.17.2.5)."""
    items = []
    for request in source.header.get("RequestAttributesSequence", ()):
        item = Dataset()
        item.StudyInstanceUID = request.get("StudyInstanceUID") or source.study_instance_uid
        item.AccessionNumber = request.get("AccessionNumber") or source.header.get("AccessionNumber")
        for keyword in ("RequestedProcedureID", "RequestedProcedureDescription"):
            setattr(item, keyword, request.get(keyword))
        item.RequestedProcedureCodeSequence = request.get("RequestedProcedureCodeSequence", [])
        item.ReferencedStudySequence = []
        item.PlacerOrderNumberImagingServiceRequest = None
        item.FillerOrderNumberImagingServiceRequest = None
        items.append(item)
    return items


def private_scheme() -> CodingSchemeIdentificationItem:
    """The identification of our coding scheme 99CXRSERVE (PS3.3 C.12.1.1.1)."""
    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME,
        name="cxrserve findings",
        version="1",
        registry=None,
        uid=PRIVATE_SCHEME_UID,
        responsible_organization="cxrserve",
    )
