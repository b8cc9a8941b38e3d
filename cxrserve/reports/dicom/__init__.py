"""DICOM results: objects that go back into the study of a radiograph.

source.py        the cleaned header of the image they belong to
objects.py       results, and the contents of a report, as plain values
identity.py      UIDs and the device's identity, the same for the same work
regions.py       a heatmap to outlines in pixels of the image
summary.py       one image in plain values
page.py          the overlay as a picture
overlay.py       ... as Secondary Capture
presentation.py  outlines over the original, as a presentation state
segmentation.py  the same regions as bits
report.py        the study's TID 1500 structured report
content.py       ... its content items
document.py      ... and the modules around its content
report_class.py  a report in another SOP class, for older archives
patient.py       another patient or order for an image and its results
study.py         the findings of a study over its images
codes.py         our codes as pydicom writes them
elements.py      data elements as bytes
instance.py      study, device, times and encoding: common to all results

highdicom takes most of a second to import, so it is loaded with the first result and not with the service.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from cxrserve.bundle.contract import Bundle
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.pipeline.pipeline import Reading
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
    "load_reports",
    "read_source",
    "refusal_report",
    "study_report",
]

_LOADING: Final = threading.Lock()


def load_reports() -> None:
    """Import the modules that make DICOM objects, one thread at a time: two that begin at once can fail."""
    with _LOADING:
        for name in ("summary", "overlay", "presentation", "segmentation", "report"):
            import_module(f"{__name__}.{name}")


def read_source(header: bytes) -> Source:
    """Read the header that `DecodePool.header` returned. As `source.read_source`."""
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
    """Summarise one image for the report, and make the objects of that image alone, as `options` request.

    Args:
        reading: with a `preview_side` of at least 1 and maps of the positive findings.
        when: the time written into the objects; the same work at the same time gives the same bytes.
    """
    chosen = options or Options()
    with quiet:
        return _image_results(source, reading, bundle, when, chosen)


def _image_results(
    source: Source, reading: Reading, bundle: Bundle, when: datetime.datetime, chosen: Options
) -> tuple[ImageSummary, list[DicomObject]]:
    from cxrserve.reports.dicom.overlay import overlay_object
    from cxrserve.reports.dicom.presentation import presentation_state
    from cxrserve.reports.dicom.segmentation import segmentation
    from cxrserve.reports.dicom.summary import image_summary

    summary = image_summary(source, reading, bundle)
    overlay = overlay_object(source, reading, summary, bundle, when) if chosen.overlay else None
    if overlay is not None:
        summary = summary.model_copy(update={"overlay": overlay.reference})
    objects = [
        overlay,
        presentation_state(source, summary, bundle, when) if chosen.presentation_state else None,
        segmentation(source, summary, bundle, when) if chosen.segmentation else None,
    ]
    return summary, [item for item in objects if item is not None]


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

    with quiet:  # they repeat identifiers of the image as they are
        return build(sources, summaries, refusals, bundle, when, revision=revision, predecessor=predecessor)


def refusal_report(source: Source, refusal: Refusal, bundle: Bundle, when: datetime.datetime) -> DicomObject:
    """The report of a study in which no image was analysed. As `study_report` without summaries."""
    return study_report([source], [], [refusal], bundle, when=when)
