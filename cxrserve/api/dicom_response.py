"""Builds the DICOM form of a prediction: the result objects of one study, in one multipart/related body.

The service keeps none of them; the caller stores them in the study that the image came from.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cxrserve.bundle.contract import Bundle
from cxrserve.errors import NotAcceptable, RequestError
from cxrserve.imaging.dicom.dataset import text
from cxrserve.multipart import DICOM_TYPE, Body, related_body
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.dicom import (
    DicomObject,
    ImageSummary,
    image_results,
    read_source,
    study_report,
)

if TYPE_CHECKING:
    from cxrserve.reports.dicom.source import Source

PREVIEW_SIDE: Final = 1024  # longest side of the radiograph that the overlay is drawn on
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            f'multipart/related; type="{DICOM_TYPE}"': {"schema": {"type": "string", "format": "binary"}}
        }
    }
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageResult:
    """The reading of one image, and the image's DICOM header."""

    header: bytes
    reading: Reading


def check_is_dicom(file_format: str) -> None:
    """Check that the upload is DICOM.

    Raises:
        NotAcceptable: it is not, so there is no study for the results.
    """
    if file_format != "dicom":
        raise NotAcceptable(
            f"the upload is {file_format.upper()}, which belongs to no study, so it has no DICOM results. "
            "Send the DICOM image, or ask for JSON."
        )


def dicom_body(images: Sequence[ImageResult], bundle: Bundle) -> Body:
    """The result objects of the images of one study, and the study's report last.

    Raises:
        RequestError: the images belong to different studies or patients.
    """
    when = datetime.datetime.now().astimezone().replace(microsecond=0)
    sources = study_sources(images)
    objects: list[DicomObject] = []
    summaries: list[ImageSummary] = []
    for source, image in zip(sources, images, strict=True):
        summary, results = image_results(source, image.reading, bundle, when=when)
        summaries.append(summary)
        objects += results
    objects.append(study_report(sources, summaries, [], bundle, when=when))
    return related_body([result.part10 for result in objects])


def study_sources(images: Sequence[ImageResult]) -> list[Source]:
    """The headers of the images of one study.

    Raises:
        RequestError: the images belong to different studies or patients.
    """
    sources = [read_source(image.header) for image in images]
    if (studies := len({source.study_instance_uid for source in sources})) > 1:
        raise RequestError(f"the images belong to {studies} different studies; send one study at a time")
    if (patients := len({text(source.header, "PatientID") for source in sources} - {""})) > 1:
        raise RequestError(
            f"the images of this study have {patients} different Patient IDs, and a report has one patient. "
            "Have the study corrected at its source."
        )
    return sources
