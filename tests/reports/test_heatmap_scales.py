"""The heatmap scale of a finding, in the pictures and in the words of every DICOM object."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from cxrserve.bundle.contract import Bundle, Contract
from cxrserve.ensemble.heatmap import to_grey
from cxrserve.findings import NAMES
from cxrserve.reports.answer import answer
from cxrserve.reports.dicom import Options, image_results, study_report
from cxrserve.reports.dicom.page import page
from cxrserve.reports.pictures import heatmap_picture
from tests.reports.conftest import WHEN, Made


def with_scales(bundle: Bundle, factor: float, made: Made) -> Bundle:
    """The bundle with a scale for each finding: `factor` × the largest value of its map in this image."""
    contract, scales = bundle.contract, {}
    for index, name in enumerate(NAMES):
        picture_hw = heatmap_picture(made.reading, index, contract)
        if picture_hw is not None and picture_hw.max() > 0:
            scales[name] = float(picture_hw.max()) * factor
    changed = Contract.model_validate({**contract.model_dump(), "heatmap_scales": scales})
    return replace(bundle, contract=changed)


@pytest.fixture
def scaled(made: Made) -> Bundle:
    """Scales at which the largest value of this image's maps is half of the full colour."""
    return with_scales(made.bundle, 2.0, made)


def test_the_page_is_drawn_on_the_findings_scale(made: Made, scaled: Bundle) -> None:
    """The colours fade as the scale grows: on a scale of the picture's own they would stay as they are."""

    def colour(bundle: Bundle) -> float:
        sheet_HW3 = page(made.reading, made.summary.findings, bundle)
        return float(np.ptp(sheet_HW3[80:, :940].astype(int), axis=2).mean())

    full, half = colour(with_scales(made.bundle, 1.0, made)), colour(scaled)
    faint = colour(with_scales(made.bundle, 50.0, made))
    assert full > 1.3 * half > 1.3 * 1.3 * faint


def test_the_answer_names_scale_curve_and_unit(made: Made, scaled: Bundle) -> None:
    shown = [finding for finding in answer(made.reading, scaled).findings if finding.heatmap]
    assert shown
    for finding in shown:
        assert finding.heatmap is not None
        assert (finding.heatmap.scale, finding.heatmap.curve, finding.heatmap.unit) == (
            scaled.contract.heatmap_scales[finding.finding],
            "linear",
            "nats",
        )
        assert finding.heatmap.max == pytest.approx(finding.heatmap.scale / 2)


def test_every_dicom_object_says_how_strong_the_evidence_is_and_on_which_scale(
    made: Made, scaled: Bundle
) -> None:
    summary, objects = image_results(
        made.source, made.reading, scaled, when=WHEN, options=Options(segmentation=True)
    )
    objects.append(study_report([made.source], [summary], [], scaled, when=WHEN))
    read = {each.kind: pydicom.dcmread(io.BytesIO(each.part10)) for each in objects}
    located = [finding for finding in summary.findings if finding.regions]
    assert located
    layers = {layer.GraphicLayerDescription for layer in read["presentation-state"].GraphicLayerSequence}
    segments = {segment.SegmentLabel: segment for segment in read["segmentation"].SegmentSequence}
    report = next(each.part10 for each in objects if each.kind == "report").decode("latin-1")
    for finding in located:
        assert finding.heatmap is not None
        scale = scaled.contract.heatmap_scales[finding.finding]
        assert (finding.heatmap.scale, finding.heatmap.curve) == (scale, "linear")
        words = f"largest {scale / 2:.3g} nats, full colour at {scale:.3g} nats, linear scale"
        assert str(finding.heatmap) == words
        assert words in report
        assert words in segments[finding.finding].SegmentDescription
        assert any(f"{scale / 2:.3g} of {scale:.3g} nats" in layer for layer in layers)


def test_summaries_of_earlier_versions_have_no_heatmap_and_are_still_reported(made: Made) -> None:
    old = made.summary.model_copy(
        update={
            "findings": tuple(
                finding.model_copy(update={"heatmap": None}) for finding in made.summary.findings
            )
        }
    )
    report = study_report([made.source], [old], [], made.bundle, when=WHEN)
    assert "full colour" not in str(pydicom.dcmread(io.BytesIO(report.part10)))


def test_linear_grey_is_proportional_to_the_raw_value() -> None:
    picture = np.array([[0.0, 1.0, 2.0, 4.0, 8.0]], np.float32)
    assert to_grey(picture, 4.0, "linear").tolist() == [[0, 64, 128, 255, 255]]
