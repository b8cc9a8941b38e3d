"""One reading of one phantom-like DICOM image, for every test of what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from cxrserve.bundle.contract import Bundle
from cxrserve.pipeline.pipeline import Pipeline, Reading
from cxrserve.reports.dicom import (
    DicomObject,
    ImageSummary,
    Options,
    image_results,
    read_source,
    study_report,
)
from cxrserve.reports.dicom.source import Source
from tests import radiographs
from tests.conftest import MakeSettings

WHEN = datetime(2026, 3, 4, 5, 6, 7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One image and everything that is made of it."""

    source: Source
    reading: Reading
    summary: ImageSummary
    objects: dict[str, DicomObject]
    bundle: Bundle


Make = Callable[[bytes], Made]


@pytest.fixture(scope="session")
def results_pipeline(make_settings: MakeSettings) -> Iterator[Pipeline]:
    with Pipeline(make_settings()) as opened:
        yield opened


@pytest.fixture(scope="session")
def make(results_pipeline: Pipeline) -> Make:
    """DICOM bytes to all objects, through the workers that serve."""
    bundle = results_pipeline.predictor.bundle

    def made(data: bytes) -> Made:
        source = read_source(results_pipeline.header(data, timeout_s=30))
        reading = results_pipeline.read(data, preview_side=512)
        options = Options(segmentation=True)
        summary, objects = image_results(source, reading, bundle, when=WHEN, options=options)
        objects.append(study_report([source], [summary], [], bundle, when=WHEN))
        return Made(
            source=source,
            reading=reading,
            summary=summary,
            objects={each.kind: each for each in objects},
            bundle=bundle,
        )

    return made


@pytest.fixture(scope="session")
def made(make: Make) -> Made:
    """The objects of `radiographs.dicom()` with a whole patient."""
    return make(radiographs.dicom(**PATIENT))


PATIENT: dict[str, Any] = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "PatientBirthDate": "19600102",
    "PatientSex": "F",
    "StudyDate": "20260301",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A-99",
    "StudyDescription": "Chest PA",
    "ReferringPhysicianName": "House^G",
    "PatientOrientation": ["L", "F"],
    "ImagerPixelSpacing": ["0.5", "0.5"],
    "WindowCenter": ["2048", "1500"],
    "WindowWidth": ["4096", "3000"],
    "InstanceNumber": 3,
    "SeriesNumber": 2,
}
