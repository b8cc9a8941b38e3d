"""What a study's report is made of: headers, summaries, answers and refusals of its images, read back."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread

from cxrserve.archive.store import Store
from cxrserve.reports.answer import Answer
from cxrserve.reports.dicom import ImageSummary, Reference, Refusal, read_source

if TYPE_CHECKING:
    from cxrserve.reports.dicom.source import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """The images of one study.

    Attributes:
        sources: headers of all images, in the order they arrived.
        summaries, answers: of those that were judged, in the same order.
        refusals: of those that were not.
    """

    sources: list[Source]
    summaries: list[ImageSummary]
    answers: list[Answer]
    refusals: list[Refusal]


def material(store: Store, images: Sequence[Any]) -> Material:
    """What there is of `images`, rows of index.OBJECTS whose reading has ended."""
    sources = [read_source(each.header) for each in images]
    judged = [store.results_path(each.sha256) for each in images if each.state == "done"]
    return Material(
        sources=sources,
        summaries=[ImageSummary.model_validate_json((path / "summary.json").read_bytes()) for path in judged],
        answers=[Answer.model_validate_json((path / "answer.json").read_bytes()) for path in judged],
        refusals=[
            Refusal(image=source.reference, **json.loads(each.problem))
            for source, each in zip(sources, images, strict=True)
            if each.state != "done"
        ],
    )


def reference_of(path: Path) -> Reference:
    """What another object says to point at the result in the file `path`."""
    header = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"])
    return Reference(
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
    )


def moment(seconds: float) -> datetime.datetime:
    """Seconds since 1970, as they stand in the index, as a time in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
