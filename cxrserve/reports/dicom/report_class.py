"""The SOP class of a structured report: converts a report for a PACS that does not know Comprehensive 3D SR.

Nothing in the reports needs more than Enhanced SR (PS3.3 A.35.2), which older archives take.
"""

from __future__ import annotations

import uuid
from copy import deepcopy
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from cxrserve.reports.dicom.identity import UID_NAMESPACE

# By their names in the rules, in the order of preference. Reports are made in the first.
REPORT_CLASSES: Final[dict[str, UID]] = {
    "comprehensive-3d": Comprehensive3DSRStorage,
    "comprehensive": ComprehensiveSRStorage,
    "enhanced": EnhancedSRStorage,
}


def with_report_class(report: Dataset, sop_class: UID) -> Dataset:
    """A copy of `report` in `sop_class`, as an object of its own.

    Its SOP Instance UID is made from that of `report` and the class, so it is the same at every delivery. The
    report that it replaces is named as it was delivered: in the same class.
    """
    if report.SOPClassUID == sop_class:
        return report
    converted = deepcopy(report)
    converted.SOPClassUID = converted.file_meta.MediaStorageSOPClassUID = sop_class
    instance = _instance_uid(str(report.SOPInstanceUID), sop_class)
    converted.SOPInstanceUID = converted.file_meta.MediaStorageSOPInstanceUID = instance
    for study in converted.get("PredecessorDocumentsSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for document in series.ReferencedSOPSequence:
                if document.ReferencedSOPClassUID == report.SOPClassUID:
                    document.ReferencedSOPClassUID = sop_class
                    uid = str(document.ReferencedSOPInstanceUID)
                    document.ReferencedSOPInstanceUID = _instance_uid(uid, sop_class)
    return converted


def _instance_uid(sop_instance_uid: str, sop_class: UID) -> UID:
    return UID(f"2.25.{uuid.uuid5(UID_NAMESPACE, f'report {sop_class} {sop_instance_uid}').int}")
