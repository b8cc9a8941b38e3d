"""DICOM results: what goes back into the study of a radiograph.

source.py        the cleaned header of the image they belong to
objects.py       what a result is, and what a report is made of, as plain values
uids.py          UIDs and the device's identity, the same for the same work
regions.py       a heatmap to outlines in pixels of the image
summary.py       one image in plain values
page.py          the overlay as a picture
overlay.py       ... as Secondary Capture
presentation.py  outlines over the original, as a presentation state
segmentation.py  the same regions as bits
report.py        the study's TID 1500 structured report
document.py      ... and what stands around its content
study.py         the findings of a study over its images
codes.py         our codes as pydicom writes them
instance.py      what every result has: study, device, times, bytes

highdicom takes most of a second to import, so it is loaded with the first result and not with the service.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxrserve.ensemble.bundle import Bundle
from cxrserve.ensemble.pipeline import Reading
from cxrserve.reports.dicom.objects import (
    DicomObject,
    FindingSummary,
    ImageSummary,
    Options,
    Reference,
    Refusal,
    Region,
)

if TYPE_CHECKING:
    from cxrserve.reports.dicom.source import Source

__all__ = [
    "DicomObject",
    "FindingSummary",
    "ImageSummary",
    "Options",
    "Reference",
    "Refusal",
    "Region",
    "image_results",
    "read_source",
    "refusal_report",
    "study_report",
]


def read_source(header: bytes) -> Source:
    """The header that `DecodePool.header` returned. As `source.read_source`."""
    from cxrserve.reports.dicom.source import read_source as read

    return read(header)


def image_results(
    source: Source,
    reading: Reading,
    bundle: Bundle,
    *,
    when: datetime.datetime,
    options: Options | None = None,
) -> tuple[ImageSummary, list[DicomObject]]:
    """What a report says of one image, and the objects that belong to the image alone, as `options` ask.

    Args:
        reading: made with `preview_side` of at least 1 and maps of the positive findings.
        when: the time the objects are given; the same work at the same time gives the same bytes.
    """
    from cxrserve.reports.dicom.overlay import overlay_object
    from cxrserve.reports.dicom.presentation import presentation_state
    from cxrserve.reports.dicom.segmentation import segmentation
    from cxrserve.reports.dicom.summary import image_summary

    chosen = options or Options()
    summary = image_summary(source, reading, bundle)
    overlay = overlay_object(source, reading, bundle, when) if chosen.overlay else None
    if overlay is not None:
        summary = summary.model_copy(update={"overlay": overlay.reference})
    made = [
        overlay,
        presentation_state(source, summary, bundle, when) if chosen.presentation_state else None,
        segmentation(source, summary, bundle, when) if chosen.segmentation else None,
    ]
    return summary, [each for each in made if each is not None]


def study_report(
    sources: Sequence[Source],
    summaries: Sequence[ImageSummary],
    refusals: Sequence[Refusal],
    bundle: Bundle,
    *,
    when: datetime.datetime,
    revision: int = 1,
    predecessor: Reference | None = None,
) -> DicomObject:
    """One structured report for the images of a study. As `report.study_report`."""
    from cxrserve.reports.dicom.report import study_report as build

    return build(sources, summaries, refusals, bundle, when, revision=revision, predecessor=predecessor)


def refusal_report(source: Source, refusal: Refusal, bundle: Bundle, when: datetime.datetime) -> DicomObject:
    """The report of a study in which no image was judged. As `study_report` without summaries."""
    return study_report([source], [], [refusal], bundle, when=when)
