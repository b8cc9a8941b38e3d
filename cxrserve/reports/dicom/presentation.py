"""Outlines and words over the original, nothing burnt in: a presentation state (PS3.3 A.33.1).

Where a study's viewer supports it, a click takes the whole layer away, and the radiograph stays at its own
depth and size.
"""

from __future__ import annotations

import colorsys
import datetime
from copy import deepcopy
from typing import Any, Final

import numpy as np
from highdicom import ModalityLUTTransformation, PresentationLUTTransformation
from highdicom.color import CIELabColor
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from pydicom.dataset import Dataset

from cxrserve.ensemble.bundle import Bundle
from cxrserve.findings import INDEX, NAMES
from cxrserve.reports.dicom.identity import MANUFACTURER, tracking
from cxrserve.reports.dicom.instance import finished, numbers, referable, series_arguments, takes_annotations
from cxrserve.reports.dicom.objects import DicomObject, FindingSummary, ImageSummary, Region
from cxrserve.reports.dicom.source import Source

_WORDS: Final = "SUMMARY"  # the layer of the text that belongs to no place
_TEXT_HEIGHT: Final = 0.03  # of the image's rows
_TEXT_WIDTH: Final = 0.42  # of its columns
_Box = tuple[float, float, float, float]  # left, top, right, bottom
_LINE: Final = 0.03  # of the display's height


def presentation_state(
    source: Source, summary: ImageSummary, bundle: Bundle, when: datetime.datetime
) -> DicomObject | None:
    """The outlines of `summary`, one layer a finding; None for an image it cannot refer to."""
    image = referable(source)
    if not takes_annotations(image):
        return None
    image.Rows, image.Columns = summary.rows, summary.columns
    positive = [finding for finding in summary.findings if finding.positive]
    words = GraphicLayer(
        layer_name=_WORDS, order=1, description="Findings and notice", display_color=_colour("")
    )
    taken: list[_Box] = []
    layers, annotations = [words], [_notice(image, words, positive)]
    for order, finding in enumerate((each for each in positive if each.regions), start=2):
        layer = GraphicLayer(
            layer_name=finding.finding.upper()[:16].strip(),
            order=order,
            description=f"{finding.finding} {finding.probability:.3f}",
            display_color=_colour(finding.finding),
        )
        layers.append(layer)
        annotations.append(_outlines(image, layer, finding, summary, bundle, taken))
    made = GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        content_label="CXRSERVE",
        content_description="Research use only: outlines of evidence",
        content_creator_name=f"{MANUFACTURER}^",
        graphic_layers=layers,
        graphic_annotations=annotations,
        presentation_lut_transformation=PresentationLUTTransformation(
            # PS3.3 C.7.6.3.1.2: MONOCHROME1 shows its lowest value white; so must the presentation state.
            presentation_lut_shape="INVERSE" if _white_is_low(image) else "IDENTITY"
        ),
        **_grey_scale(image),
        **series_arguments("presentation-state", source, bundle, when),
    )
    made.BodyPartExamined = "CHEST"
    _set_tables(made, source)
    _set_shape(made, image)
    return finished(made, "presentation-state", source, bundle, when)


def colour_of(finding: str) -> tuple[int, int, int]:
    """RGB of a finding's outlines: as many hues as findings, neighbours in the list far apart."""
    if finding not in INDEX:
        return 255, 255, 255
    hue = (INDEX[finding] * 5 % len(NAMES)) / len(NAMES)
    red, green, blue = colorsys.hls_to_rgb(hue, 0.62, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def _colour(finding: str) -> CIELabColor:
    return CIELabColor.from_rgb(*colour_of(finding))


def _notice(image: Dataset, layer: GraphicLayer, positive: list[FindingSummary]) -> GraphicAnnotation:
    lines = [
        f"{each.finding} {each.probability:.2f} (operating point {each.threshold:.2f})" for each in positive
    ]
    lines = lines or ["No finding at or above its operating point"]
    lines.insert(0, "RESEARCH USE ONLY - NOT FOR DIAGNOSIS")
    box = (0.01, 0.01, 0.60, 0.01 + _LINE * len(lines))
    text = TextObject(
        text_value="\r\n".join(lines), units="DISPLAY", bounding_box=box, text_justification="LEFT"
    )
    return GraphicAnnotation(referenced_images=[image], graphic_layer=layer, text_objects=[text])


def _outlines(
    image: Dataset,
    layer: GraphicLayer,
    finding: FindingSummary,
    summary: ImageSummary,
    bundle: Bundle,
    taken: list[_Box],
) -> GraphicAnnotation:
    graphics, texts = [], []
    for number, region in enumerate(finding.regions):
        identifier, uid = tracking(bundle, summary, finding.finding, number)
        graphics.append(
            GraphicObject(
                graphic_type="POLYLINE",
                graphic_data=np.array(region.points),
                units="PIXEL",
                tracking_id=identifier,
                tracking_uid=uid,
            )
        )
        texts.append(
            TextObject(
                text_value=f"{finding.finding} {finding.probability:.2f}",
                units="PIXEL",
                bounding_box=_box_above(region, summary, taken),
                text_justification="LEFT",
            )
        )
    return GraphicAnnotation(
        referenced_images=[image], graphic_layer=layer, graphic_objects=graphics, text_objects=texts
    )


def _box_above(region: Region, summary: ImageSummary, taken: list[_Box]) -> _Box:
    """A box for words at the upper edge of `region`, clear of those `taken`, of which it is now one."""
    width, height = summary.columns * _TEXT_WIDTH, summary.rows * _TEXT_HEIGHT
    left = max(1.0, min(min(x for x, _ in region.points), summary.columns - width))
    edge = max(1.0, min(y for _, y in region.points) - height)
    places = (edge + sign * step * height for step in range(len(taken) + 1) for sign in (-1, 1))
    for top in (place for place in places if 1 <= place <= summary.rows - height):
        box = (round(left, 1), round(top, 1), round(left + width, 1), round(top + height, 1))
        if not any(_overlap(box, other) for other in taken):
            break
    else:
        box = (round(left, 1), round(edge, 1), round(left + width, 1), round(edge + height, 1))
    taken.append(box)
    return box


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _white_is_low(image: Dataset) -> bool:
    return bool(image.get("PhotometricInterpretation") == "MONOCHROME1")


def _grey_scale(image: Dataset) -> dict[str, Any]:
    """Rescale and windows of the image, repeated where they are sound (PS3.3 C.11.1, C.11.2)."""
    made: dict[str, Any] = {}
    slope, intercept = image.get("RescaleSlope"), image.get("RescaleIntercept")
    kind = image.get("RescaleType") or "US"
    sound = slope not in (None, 0) and intercept is not None and not image.get("ModalityLUTSequence")
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        image.pop(keyword, None)
    if sound:
        made["modality_lut_transformation"] = ModalityLUTTransformation(
            rescale_intercept=float(intercept), rescale_slope=float(slope), rescale_type=kind
        )
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):  # `_set_tables` repeats them
        image.pop(keyword, None)
    centres, widths = numbers(image.get("WindowCenter")), numbers(image.get("WindowWidth"))
    function = image.get("VOILUTFunction")
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        image.pop(keyword, None)
    if centres and len(centres) == len(widths) and all(width >= 1 for width in widths):
        made["voi_lut_transformations"] = [
            SoftcopyVOILUTTransformation(
                window_center=centres if len(centres) > 1 else centres[0],
                window_width=widths if len(widths) > 1 else widths[0],
                voi_lut_function=function if function in ("LINEAR", "LINEAR_EXACT", "SIGMOID") else None,
            )
        ]
    return made


def _set_tables(made: Dataset, source: Source) -> None:
    """The image's look-up tables, word for word: highdicom would write those of 12 bit as of 16.

    The state stands in for all that the image says of its greyscale; without them it would look washed out.
    A VOI LUT beside windows is the same picture once more, and the windows are repeated.
    """
    header = source.header
    if modality := header.get("ModalityLUTSequence"):
        (table,) = deepcopy(modality)
        table.ModalityLUTType = table.get("ModalityLUTType") or "US"
        made.ModalityLUTSequence = [table]
    if (voi := header.get("VOILUTSequence")) and "SoftcopyVOILUTSequence" not in made:
        transformation = Dataset()
        transformation.VOILUTSequence = deepcopy(voi)
        made.SoftcopyVOILUTSequence = [transformation]


def _set_shape(made: Dataset, image: Dataset) -> None:
    """The pixels' shape in the displayed area: spacing where it is known, else the aspect ratio (C.10.4)."""
    area = made.DisplayedAreaSelectionSequence[0]
    del area.PixelOriginInterpretation  # for whole-slide images only
    spacing = image.get("PixelSpacing") or image.get("ImagerPixelSpacing")
    ratio = numbers(image.get("PixelAspectRatio"))
    if spacing:
        area.PresentationPixelSpacing = list(spacing)
        del area.PresentationPixelAspectRatio
    elif len(ratio) == 2 and min(ratio) > 0:
        area.PresentationPixelAspectRatio = [int(each) for each in ratio]
