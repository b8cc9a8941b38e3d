"""The regions as a bit mask: a BINARY Segmentation (PS3.3 A.51), one segment a finding.

Not FRACTIONAL: that declares a probability or an occupancy, and a class activation map is neither.
"""

from __future__ import annotations

import datetime
from typing import Final

import cv2
import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from cxrserve.bundle.contract import Bundle
from cxrserve.findings import FINDINGS, INDEX
from cxrserve.reports.dicom.codes import GRAD_CAM, coded
from cxrserve.reports.dicom.identity import device_uid, made_uid, tracking
from cxrserve.reports.dicom.instance import finished, referable, series_arguments, takes_annotations
from cxrserve.reports.dicom.objects import DicomObject, FindingSummary, ImageSummary
from cxrserve.reports.dicom.presentation import colour_of
from cxrserve.reports.dicom.source import Source

# PS3.16 CID 7150
_ABNORMAL: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")


def segmentation(
    source: Source, summary: ImageSummary, bundle: Bundle, when: datetime.datetime
) -> DicomObject | None:
    """The located findings of `summary` as segments; None where there are none."""
    located = [finding for finding in summary.findings if finding.regions]
    image = referable(source)
    if not located or not takes_annotations(image):
        return None
    image.Rows, image.Columns = summary.rows, summary.columns
    masks_HWF = np.stack([_mask(finding, summary) for finding in located], axis=-1)
    segments = Segmentation(
        source_images=[image],
        pixel_array=masks_HWF[None],
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(number, finding, summary, bundle) for number, finding in enumerate(located, start=1)
        ],
        content_label="CXRSERVE",
        content_description="Research use only: regions of evidence",
        omit_empty_frames=False,
        **series_arguments("segmentation", source, bundle, when),
    )
    segments.BodyPartExamined = "CHEST"
    for item, finding in zip(segments.SegmentSequence, located, strict=True):
        if finding.heatmap is not None:
            item.SegmentDescription = (
                f"At or above half of the largest evidence (Grad-CAM): {finding.heatmap}."
            )
    # highdicom generates a random UID here.
    dimensions = made_uid("dimensions", bundle.sha256, source.sop_instance_uid)
    for item in (*segments.DimensionOrganizationSequence, *segments.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    segments.PatientOrientation = image.get("PatientOrientation")
    return finished(segments, "segmentation", source, bundle, when)


def _mask(finding: FindingSummary, summary: ImageSummary) -> NDArray[np.uint8]:
    mask_HW = np.zeros((summary.rows, summary.columns), np.uint8)
    outlines = [np.rint(np.array(region.points) - 0.5).astype(np.int32) for region in finding.regions]
    return cv2.fillPoly(mask_HW, outlines, 1).astype(np.uint8, copy=False)


def _segment(
    number: int, finding: FindingSummary, summary: ImageSummary, bundle: Bundle
) -> SegmentDescription:
    identifier, uid = tracking(bundle, summary, finding.finding)
    algorithm = AlgorithmIdentificationSequence(
        name=bundle.contract.name, version=bundle.contract.version, family=GRAD_CAM, source="cxrserve",
        parameters={"device": device_uid(bundle)},
    )  # fmt: skip
    return SegmentDescription(
        segment_number=number,
        segment_label=finding.finding,
        segmented_property_category=_ABNORMAL,
        segmented_property_type=coded(FINDINGS[INDEX[finding.finding]].code),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_id=identifier,
        tracking_uid=uid,
        display_color=CIELabColor.from_rgb(*colour_of(finding.finding)),
    )
