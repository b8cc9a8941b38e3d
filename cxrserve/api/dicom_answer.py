"""An answer as DICOM: the objects that go back into the study, in one `multipart/related` body.

RFC 2387 and PS3.18 8.6.1.2: each part is one Part 10 file. Nothing is kept: the caller stores them where the
image came from.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

from starlette.requests import Request

from cxrserve.ensemble.bundle import Bundle
from cxrserve.ensemble.pipeline import Reading
from cxrserve.errors import NotAcceptable, RequestError
from cxrserve.imaging.dicom.dataset import text
from cxrserve.reports.dicom import (
    DicomObject,
    ImageSummary,
    image_results,
    read_source,
    study_report,
)

Accept = Literal["json", "dicom"]
PART_TYPE: Final = "application/dicom"
PREVIEW_SIDE: Final = 1024  # longest side of the radiograph that the overlay is drawn on
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            f'multipart/related; type="{PART_TYPE}"': {"schema": {"type": "string", "format": "binary"}}
        }
    }
}
_MULTIPART_DICOM: Final = re.compile(
    r'multipart/related\s*;[^,]*\btype\s*=\s*"?application/dicom"?(?![+\w])', re.I
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Related:
    """A body and its Content-Type."""

    body: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One image with its header: what the objects are made of."""

    header: bytes
    reading: Reading


def wanted(request: Request, accept: Accept | None) -> bool:
    """True if the answer is to be DICOM: `accept` says so, or else the Accept header."""
    if accept is not None:
        return accept == "dicom"
    return _MULTIPART_DICOM.search(request.headers.get("accept", "")) is not None


def check_is_dicom(about_format: str) -> None:
    """Pass a DICOM image.

    Raises:
        NotAcceptable: there is no study that results could go into.
    """
    if about_format != "dicom":
        raise NotAcceptable(
            f"the upload is {about_format.upper()}, which belongs to no study, so it has no DICOM results. "
            "Send the DICOM image, or ask for JSON."
        )


def answered(images: Sequence[Judged], bundle: Bundle) -> Related:
    """The objects of the images of one study, and its report last.

    Raises:
        RequestError: the images belong to different studies or patients.
    """
    when = datetime.datetime.now().astimezone().replace(microsecond=0)
    objects: list[DicomObject] = []
    sources = [read_source(image.header) for image in images]
    if (studies := len({source.study_instance_uid for source in sources})) > 1:
        raise RequestError(f"the images belong to {studies} different studies; send one study at a time")
    if (patients := len({text(source.header, "PatientID") for source in sources} - {""})) > 1:
        raise RequestError(
            f"the images of this study bear {patients} different Patient IDs, and a report has one patient. "
            "Have the study corrected at its source."
        )
    summaries: list[ImageSummary] = []
    for source, image in zip(sources, images, strict=True):
        summary, made = image_results(source, image.reading, bundle, when=when)
        summaries.append(summary)
        objects += made
    objects.append(study_report(sources, summaries, [], bundle, when=when))
    return related([each.part10 for each in objects])


def related(files: Sequence[bytes]) -> Related:
    """`files` as the parts of one body; the boundary is a hash of them, so it stands in none."""
    digest = sha256()
    for file in files:
        digest.update(file)
    boundary = f"cxrserve-{digest.hexdigest()[:40]}"
    parts = [
        f"--{boundary}\r\nContent-Type: {PART_TYPE}\r\nContent-Length: {len(file)}\r\n\r\n".encode()
        + file
        + b"\r\n"
        for file in files
    ]
    return Related(
        body=b"".join((*parts, f"--{boundary}--\r\n".encode())),
        media_type=f'multipart/related; type="{PART_TYPE}"; boundary={boundary}',
    )
