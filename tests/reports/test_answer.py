"""The JSON answer: numbers, heatmaps, overlays, studies."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from cxrserve.errors import RequestError
from cxrserve.findings import INDEX, NAMES
from cxrserve.pipeline.pipeline import Pipeline, Reading
from cxrserve.reports.answer import Answer, answer, study_answer
from cxrserve.reports.pictures import OVERLAY_SIDE, blend, overlay
from tests import radiographs
from tests.conftest import MakeSettings


@pytest.fixture(scope="module")
def pipeline(make_settings: MakeSettings) -> Iterator[Pipeline]:
    with Pipeline(make_settings()) as opened:
        yield opened


@pytest.fixture(scope="module")
def reading(pipeline: Pipeline) -> Reading:
    return pipeline.read(radiographs.dicom(), explain="all", preview_side=OVERLAY_SIDE)


def known(value: float | None) -> float:
    """`value`, where the bundle knows every finding."""
    assert value is not None
    return value


@pytest.fixture(scope="module")
def whole(pipeline: Pipeline, reading: Reading) -> Answer:
    return answer(reading, pipeline.predictor.bundle)


def test_probability_is_the_stack_of_what_is_shown(whole: Answer) -> None:
    for finding in whole.findings:
        assert sum(scale.weight for scale in finding.scales) == pytest.approx(1, abs=1e-9)
        stacked = sum(scale.weight / (1 + math.exp(-known(scale.logit))) for scale in finding.scales)
        assert finding.probability == pytest.approx(stacked, abs=1e-9)
        assert finding.positive == (known(finding.probability) >= known(finding.threshold))


def test_heatmaps_are_on_one_scale(whole: Answer) -> None:
    pictures = [finding.heatmap for finding in whole.findings]
    assert all(picture is not None for picture in pictures)
    assert len({picture.scale for picture in pictures if picture}) == 1
    for picture in pictures:
        assert picture is not None
        encoded = np.frombuffer(base64.b64decode(picture.png), np.uint8)
        grey = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        assert grey is not None
        assert grey.shape == (picture.height, picture.width)
        assert grey.max() / 255 == pytest.approx(min(1, picture.max / picture.scale) ** 0.5, abs=1 / 255)


@pytest.mark.parametrize(
    ("explain", "explained"),
    [("none", set()), ("all", set(range(14))), ((INDEX["Edema"],), {INDEX["Edema"]})],
)
def test_only_what_was_asked_for_is_explained(
    pipeline: Pipeline, explain: object, explained: set[int]
) -> None:
    told = answer(pipeline.read(radiographs.jpeg(), explain=explain), pipeline.predictor.bundle)  # type: ignore[arg-type]
    assert {index for index, finding in enumerate(told.findings) if finding.heatmap} == explained


def test_positive_explains_the_positive(pipeline: Pipeline) -> None:
    told = answer(pipeline.read(radiographs.jpeg()), pipeline.predictor.bundle)
    assert any(finding.positive for finding in told.findings)
    assert all((finding.heatmap is not None) == finding.positive for finding in told.findings)


def test_the_whole_time_is_at_least_its_parts(whole: Answer) -> None:
    parts = [ms for stage, ms in whole.timing_ms.items() if stage != "total"]
    assert {"decode", "pyramid", "stack", "heatmaps", "total"} <= set(whole.timing_ms)
    assert whole.timing_ms["total"] >= sum(parts) - 0.1


def test_no_patient_in_an_answer(pipeline: Pipeline) -> None:
    told = answer(
        pipeline.read(radiographs.dicom(PatientName="SECRET^NAME", PatientID="4711x")),
        pipeline.predictor.bundle,
    )
    assert "SECRET" not in told.model_dump_json()
    assert "4711x" not in told.model_dump_json()


def test_a_study_takes_the_largest_and_says_whose_it_is(pipeline: Pipeline) -> None:
    bundle = pipeline.predictor.bundle
    answers = [answer(pipeline.read(radiographs.jpeg(*size)), bundle) for size in ((600, 500), (900, 400))]
    study = study_answer(answers, bundle)
    for index, finding in enumerate(study.findings):
        both = [known(one.findings[index].probability) for one in answers]
        assert finding.probability == max(both)
        assert finding.decided_by == both.index(max(both))


def test_images_of_two_studies_are_no_study(pipeline: Pipeline) -> None:
    bundle = pipeline.predictor.bundle
    answers = [
        answer(pipeline.read(radiographs.dicom(StudyInstanceUID=uid)), bundle) for uid in ("1.2.3", "1.2.4")
    ]
    with pytest.raises(RequestError, match="2 different studies"):
        study_answer(answers, bundle)


def test_an_overlay_shows_the_radiograph_and_its_words(pipeline: Pipeline, reading: Reading) -> None:
    picture = overlay(reading, 0, pipeline.predictor.bundle.contract)
    assert picture is not None
    assert reading.image.preview_HW is not None
    rows = reading.image.preview_HW.shape[0]
    assert picture.shape[0] > rows
    assert picture[rows:].max() > 200  # words
    assert picture.dtype == np.uint8


def test_no_overlay_where_no_heatmap_was_made(pipeline: Pipeline) -> None:
    silent = pipeline.read(radiographs.jpeg(), explain="none", preview_side=OVERLAY_SIDE)
    assert all(
        overlay(silent, index, pipeline.predictor.bundle.contract) is None for index in range(len(NAMES))
    )


def test_without_evidence_the_radiograph_is_untouched() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    blended = blend(grey, np.zeros_like(grey))
    assert all((blended[..., channel] == grey).all() for channel in range(3))
