"""The annotations of a presentation state are put together as bytes; they are those that highdicom makes."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from highdicom.pr import GraphicAnnotation, GraphicLayer, GraphicObject, TextObject
from pydicom.dataset import Dataset

from cxrserve.reports.dicom import FindingSummary, ImageSummary, Region
from cxrserve.reports.dicom.identity import tracking
from cxrserve.reports.dicom.instance import referable
from cxrserve.reports.dicom.presentation import presentation_state
from tests.reports.conftest import WHEN, Made

SQUARE = ((10.5, 20.5), (100.1, 20.5), (100.1, 90.3), (10.5, 20.5))
Box = tuple[float, float, float, float]


def annotation_of_highdicom(made: Made, ours: Dataset, summary: ImageSummary) -> GraphicAnnotation:
    """The annotation `ours` again, from the values in it and in `summary`, through highdicom's checks."""
    image = referable(made.source)
    image.Rows, image.Columns = summary.rows, summary.columns
    name = ours.GraphicLayer
    finding = next((each for each in summary.findings if each.finding.upper()[:16].strip() == name), None)
    return GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=GraphicLayer(layer_name=name, order=1),
        graphic_objects=[] if finding is None else outlines(made, finding, summary),
        text_objects=[
            TextObject(
                text_value=text.UnformattedTextValue,
                units=text.BoundingBoxAnnotationUnits,
                bounding_box=box_of(text),
                text_justification="LEFT",
            )
            for text in ours.get("TextObjectSequence", [])
        ],
    )


def box_of(text: Dataset) -> Box:
    left, top = text.BoundingBoxTopLeftHandCorner
    right, bottom = text.BoundingBoxBottomRightHandCorner
    return left, top, right, bottom


def outlines(made: Made, finding: FindingSummary, summary: ImageSummary) -> list[GraphicObject]:
    graphics = []
    for number, region in enumerate(finding.regions):
        identifier, uid = tracking(made.bundle, summary, finding.finding, number)
        graphics.append(
            GraphicObject(
                graphic_type="POLYLINE",
                graphic_data=np.array(region.points),
                units="PIXEL",
                tracking_id=identifier,
                tracking_uid=uid,
            )
        )
    return graphics


def with_regions(summary: ImageSummary, number: int) -> ImageSummary:
    """`summary` with `number` equal regions of its first positive finding, and none of the others."""
    first = next(each for each in summary.findings if each.positive)
    region = Region(points=SQUARE, share=0.5)
    findings = [
        each.model_copy(update={"regions": (region,) * number if each is first else ()})
        for each in summary.findings
    ]
    return summary.model_copy(update={"findings": tuple(findings)})


@pytest.mark.parametrize("regions", [None, 0, 1, 60])
def test_annotations_are_those_of_highdicom(made: Made, regions: int | None) -> None:
    """60 labels do not fit: the last regions have none."""
    summary = made.summary if regions is None else with_regions(made.summary, regions)
    ours = presentation_state(made.source, summary, made.bundle, WHEN)
    assert ours is not None
    state = pydicom.dcmread(io.BytesIO(ours.part10))
    state.GraphicAnnotationSequence = [
        annotation_of_highdicom(made, each, summary) for each in state.GraphicAnnotationSequence
    ]
    graphics = state.GraphicAnnotationSequence[-1].get("GraphicObjectSequence", [])
    assert len(graphics) == regions or regions is None
    rewritten = io.BytesIO()
    state.save_as(rewritten, enforce_file_format=True)
    assert rewritten.getvalue() == ours.part10


def test_a_region_whose_label_has_no_place_has_an_outline(made: Made) -> None:
    low = with_regions(made.summary, 1).model_copy(update={"rows": 1})
    ours = presentation_state(made.source, low, made.bundle, WHEN)
    assert ours is not None
    last = pydicom.dcmread(io.BytesIO(ours.part10)).GraphicAnnotationSequence[-1]
    assert "GraphicObjectSequence" in last
    assert "TextObjectSequence" not in last
