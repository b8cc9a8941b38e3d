"""Builds the FHIR form of a prediction: one DiagnosticReport for the images of a study."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cxrserve.api.accept import FHIR_TYPE
from cxrserve.api.dicom_response import ImageResult, study_sources
from cxrserve.bundle.contract import Bundle
from cxrserve.errors import NotAcceptable
from cxrserve.multipart import Body


def fhir_body(images: Sequence[ImageResult], bundle: Bundle) -> Body:
    """The DiagnosticReport of the images of one study.

    Raises:
        RequestError: the images belong to different studies or patients.
        NotAcceptable: the packages for FHIR are not installed.
    """
    sources = study_sources(images)
    try:  # the extra [pacs] brings fhir.resources
        from cxrserve.reports.dicom.summary import image_summary
        from cxrserve.reports.fhir import diagnostic_report
    except ModuleNotFoundError as error:
        raise NotAcceptable(
            f"this service cannot write FHIR: the package {error.name} is missing. Ask its administrator to "
            "install cxrserve[pacs], or ask for JSON."
        ) from None
    summaries = [
        image_summary(source, image.reading, bundle) for source, image in zip(sources, images, strict=True)
    ]
    now = datetime.datetime.now().astimezone().replace(microsecond=0)
    return Body(content=diagnostic_report(sources, summaries, [], bundle, when=now), media_type=FHIR_TYPE)
