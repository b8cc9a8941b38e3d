"""Inputs of a study's report: headers, summaries, answers and refusals of its images."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread

from cxrserve.archive.storage.files import Store
from cxrserve.archive.storage.tables import ObjectRow
from cxrserve.reports.answer import Answer
from cxrserve.reports.dicom import ImageSummary, Reference, Refusal, read_source

if TYPE_CHECKING:
    from cxrserve.reports.dicom.source import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportInputs:
    """The images of one study.

    Attributes:
        sources: headers of all images, in the order they arrived.
        summaries, answers: of those that were analysed, in the same order.
        refusals: of those that were not.
    """

    sources: list[Source]
    summaries: list[ImageSummary]
    answers: list[Answer]
    refusals: list[Refusal]


def read_inputs(store: Store, images: Sequence[ObjectRow]) -> ReportInputs:
    """Read the inputs that come from `images`, whose state is no longer "waiting"."""
    sources = [read_source(image.header) for image in images]
    results = [store.results_path(image.results) for image in images if image.state == "done"]
    return ReportInputs(
        sources=sources,
        summaries=[
            ImageSummary.model_validate_json((path / "summary.json").read_bytes()) for path in results
        ],
        answers=[Answer.model_validate_json((path / "answer.json").read_bytes()) for path in results],
        refusals=[
            Refusal(image=source.reference, **json.loads(image.problem or "{}"))
            for source, image in zip(sources, images, strict=True)
            if image.state != "done"
        ],
    )


def reference_of(path: Path) -> Reference:
    """The reference that another object holds to the result in the file `path`."""
    header = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"])
    return Reference(
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
    )


def as_time(seconds: float) -> datetime.datetime:
    """Convert seconds since 1970, as in the tables, to a time in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
