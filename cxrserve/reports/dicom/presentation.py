"""A presentation state with outlines and text over the original image (PS3.3 A.33.1).

A viewer can hide these layers, and shows the radiograph at its own depth and size.
"""

from __future__ import annotations

import colorsys
import datetime
import struct
from copy import deepcopy
from typing import Any, Final

from highdicom import ModalityLUTTransformation, PresentationLUTTransformation
from highdicom.color import CIELabColor
from highdicom.pr import (
    GraphicLayer,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
)
from pydicom.dataset import Dataset

from cxrserve.bundle.contract import Bundle
from cxrserve.findings import INDEX, NAMES
from cxrserve.reports.dicom.elements import element, floats_element, sequence, text_element
from cxrserve.reports.dicom.identity import MANUFACTURER, tracking
from cxrserve.reports.dicom.instance import finished, numbers, referable, series_arguments, takes_annotations
from cxrserve.reports.dicom.objects import DicomObject, FindingSummary, ImageSummary, Region
from cxrserve.reports.dicom.source import Source
from cxrserve.reports.notices import PICTURE_WARNING

_GRAPHIC_ANNOTATIONS: Final = 0x0070_0001
_SUMMARY: Final = "SUMMARY"  # the layer of the text without a position in the image
_TEXT_HEIGHT: Final = 0.03  # of the image's rows
_TEXT_WIDTH: Final = 0.42  # of its columns
_NOTICE_WIDTH: Final = 0.56  # of the display's width: beside it there is room for a label
_Box = tuple[float, float, float, float]  # left, top, right, bottom
_ROW_HEIGHT: Final = 0.03  # of the display's height


def presentation_state(
    source: Source, summary: ImageSummary, bundle: Bundle, when: datetime.datetime
) -> DicomObject | None:
    """The outlines of `summary`, one layer a finding; None for an image it cannot refer to."""
    image = referable(source)
    if not takes_annotations(image):
        return None
    image.Rows, image.Columns = summary.rows, summary.columns
    positive = [finding for finding in summary.findings if finding.positive]
    summary_layer = GraphicLayer(
        layer_name=_SUMMARY, order=1, description="Findings and notice", display_color=_colour("")
    )
    lines = _notice_lines(positive)
    labels = _label_boxes(positive, summary, len(lines))
    reference = _reference(source)
    layers, annotations = [summary_layer], [reference + _notice(lines)]
    for order, finding in enumerate((item for item in positive if item.regions), start=2):
        layer = GraphicLayer(
            layer_name=finding.finding.upper()[:16].strip(),
            order=order,
            description=_layer_words(finding),
            display_color=_colour(finding.finding),
        )
        layers.append(layer)
        annotations.append(reference + _outlines(layer.GraphicLayer, finding, summary, bundle, labels))
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        content_label="CXRSERVE",
        content_description="Research use only: outlines of evidence",
        content_creator_name=f"{MANUFACTURER}^",
        graphic_layers=layers,
        presentation_lut_transformation=PresentationLUTTransformation(
            # PS3.3 C.7.6.3.1.2: MONOCHROME1 shows its lowest value white; so must the presentation state.
            presentation_lut_shape="INVERSE" if _white_is_low(image) else "IDENTITY"
        ),
        **_grey_scale(image),
        **series_arguments("presentation-state", source, bundle, when),
    )
    state.BodyPartExamined = "CHEST"
    _set_tables(state, source)
    _set_shape(state, image)
    encoded = {_GRAPHIC_ANNOTATIONS: sequence(_GRAPHIC_ANNOTATIONS, annotations)}
    return finished(state, "presentation-state", source, bundle, when, encoded=encoded)


def _layer_words(finding: FindingSummary) -> str:
    """Finding, probability and strength of the evidence, in the 64 characters of a layer's description."""
    words = f"{finding.finding} {finding.probability:.3f}"
    if finding.heatmap is None:
        return words
    return f"{words}; {finding.heatmap.largest:.3g} of {finding.heatmap.scale:.3g} nats"[:64]


def colour_of(finding: str) -> tuple[int, int, int]:
    """RGB of a finding's outlines: as many hues as findings, neighbours in the list far apart."""
    if finding not in INDEX:
        return 255, 255, 255
    hue = (INDEX[finding] * 5 % len(NAMES)) / len(NAMES)
    red, green, blue = colorsys.hls_to_rgb(hue, 0.62, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def _colour(finding: str) -> CIELabColor:
    return CIELabColor.from_rgb(*colour_of(finding))


def _notice_lines(positive: list[FindingSummary]) -> list[str]:
    lines = [
        f"{finding.finding} {finding.probability:.2f} (operating point {finding.threshold:.2f})"
        for finding in positive
    ]
    lines = lines or ["No finding at or above its operating point"]
    return [PICTURE_WARNING, *lines]


def _reference(source: Source) -> bytes:
    """Referenced Image Sequence of an annotation."""
    image = text_element(0x0008_1150, "UI", source.sop_class_uid) + text_element(
        0x0008_1155, "UI", source.sop_instance_uid
    )
    return sequence(0x0008_1140, [image])


def _notice(lines: list[str]) -> bytes:
    box = (0.01, 0.01, _NOTICE_WIDTH, 0.01 + _ROW_HEIGHT * len(lines))
    return _annotation(_SUMMARY, [_text_object("\r\n".join(lines), "DISPLAY", box)], [])


def _outlines(
    layer: str,
    finding: FindingSummary,
    summary: ImageSummary,
    bundle: Bundle,
    labels: dict[tuple[str, int], _Box],
) -> bytes:
    graphics, texts = [], []
    for number, region in enumerate(finding.regions):
        graphics.append(_outline(region, tracking(bundle, summary, finding.finding, number)))
        box = labels.get((finding.finding, number))
        if box is not None:
            texts.append(_text_object(f"{finding.finding} {finding.probability:.2f}", "PIXEL", box))
    return _annotation(layer, texts, graphics)


def _annotation(layer: str, texts: list[bytes], graphics: list[bytes]) -> bytes:
    """An item of Graphic Annotation Sequence (PS3.3 C.10.5), behind its reference to the image."""
    sequences = (0x0070_0008, texts), (0x0070_0009, graphics)
    return text_element(0x0070_0002, "CS", layer) + b"".join(
        sequence(tag, items) for tag, items in sequences if items
    )


def _text_object(text: str, units: str, box: _Box) -> bytes:
    return (
        text_element(0x0070_0003, "CS", units)
        + text_element(0x0070_0006, "ST", text)
        + floats_element(0x0070_0010, box[:2])
        + floats_element(0x0070_0011, box[2:])
        + text_element(0x0070_0012, "CS", "LEFT")
    )


def _outline(region: Region, identity: tuple[str, str]) -> bytes:
    """A polyline, in pixels of the image, under a tracking identifier and UID."""
    identifier, uid = identity
    return (
        text_element(0x0062_0020, "UT", identifier)
        + text_element(0x0062_0021, "UI", uid)
        + text_element(0x0070_0005, "CS", "PIXEL")
        + element(0x0070_0020, "US", struct.pack("<H", 2))
        + element(0x0070_0021, "US", struct.pack("<H", len(region.points)))
        + floats_element(0x0070_0022, [coordinate for point in region.points for coordinate in point])
        + text_element(0x0070_0023, "CS", "POLYLINE")
        + text_element(0x0070_0024, "CS", "N")
    )


def _label_boxes(
    positive: list[FindingSummary], summary: ImageSummary, notice_lines: int
) -> dict[tuple[str, int], _Box]:
    """A box for the label of each region, by finding and number; none overlaps another, or the notice.

    The strongest region of each finding comes first. Where no place is left, a region has no label: its layer
    names the finding.
    """
    notice = (0.0, 0.0, _NOTICE_WIDTH * summary.columns, (0.02 + _ROW_HEIGHT * notice_lines) * summary.rows)
    occupied: list[_Box] = [notice]
    labels: dict[tuple[str, int], _Box] = {}
    regions = [
        (number, finding.finding, region)
        for finding in positive
        for number, region in enumerate(finding.regions)
    ]
    for number, finding, region in sorted(regions, key=lambda numbered: numbered[0]):
        box = _free_box(region, summary, occupied)
        if box is not None:
            occupied.append(box)
            labels[finding, number] = box
    return labels


def _free_box(region: Region, summary: ImageSummary, occupied: list[_Box]) -> _Box | None:
    """The free box nearest to the upper edge of `region`; None where there is none."""
    width, height = summary.columns * _TEXT_WIDTH, summary.rows * _TEXT_HEIGHT
    right_most = summary.columns - width
    left = max(1.0, min(min(x for x, _ in region.points), right_most))
    edge = max(1.0, min(y for _, y in region.points) - height)
    steps = range(int(1 / _TEXT_HEIGHT) + 1)
    tops = [edge + sign * step * height for step in steps for sign in (-1, 1)]
    for x in (left, right_most, 1.0):
        for top in tops:
            box = (round(x, 1), round(top, 1), round(x + width, 1), round(top + height, 1))
            inside = top >= 1 and top + height <= summary.rows
            if inside and not any(_overlap(box, other) for other in occupied):
                return box
    return None


def _overlap(box: _Box, other: _Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _white_is_low(image: Dataset) -> bool:
    """Whether low values are white: by the image's colour model or its own Presentation LUT Shape.

    The shape of a presentation state replaces the image's (PS3.4 N.2.2), so it has to repeat it.
    """
    shape = image.get("PresentationLUTShape")
    return bool(image.get("PhotometricInterpretation") == "MONOCHROME1" or shape == "INVERSE")


def _grey_scale(image: Dataset) -> dict[str, Any]:
    """Rescale and the first window of the image, where they are sound (PS3.3 C.11.1, C.11.2).

    A presentation state holds one window (PS3.3 Table C.11.8-1). Viewers start with the first of an image.
    """
    arguments: dict[str, Any] = {}
    slope, intercept = image.get("RescaleSlope"), image.get("RescaleIntercept")
    kind = image.get("RescaleType") or "US"
    sound = slope not in (None, 0) and intercept is not None and not image.get("ModalityLUTSequence")
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        image.pop(keyword, None)
    if sound:
        arguments["modality_lut_transformation"] = ModalityLUTTransformation(
            rescale_intercept=float(intercept), rescale_slope=float(slope), rescale_type=kind
        )
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):  # `_set_tables` repeats them
        image.pop(keyword, None)
    centres, widths = numbers(image.get("WindowCenter")), numbers(image.get("WindowWidth"))
    function = image.get("VOILUTFunction")
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        image.pop(keyword, None)
    window = next((pair for pair in zip(centres, widths, strict=False) if pair[1] >= 1), None)
    if window is not None:
        arguments["voi_lut_transformations"] = [
            SoftcopyVOILUTTransformation(
                window_center=window[0],
                window_width=window[1],
                voi_lut_function=function if function in ("LINEAR", "LINEAR_EXACT", "SIGMOID") else None,
            )
        ]
    return arguments


def _set_tables(state: Dataset, source: Source) -> None:
    """The image's look-up tables, word for word: highdicom would write those of 12 bit as of 16.

    The state stands in for all that the image says of its greyscale; without them it would look washed out.
    A VOI LUT beside windows shows the same picture, so only the window is repeated. Of several VOI LUTs the
    first is repeated (PS3.3 Table C.11.8-1).
    """
    header = source.header
    if modality := header.get("ModalityLUTSequence"):
        (table,) = deepcopy(modality)
        table.ModalityLUTType = table.get("ModalityLUTType") or "US"
        state.ModalityLUTSequence = [table]
    if (voi := header.get("VOILUTSequence")) and "SoftcopyVOILUTSequence" not in state:
        transformation = Dataset()
        transformation.VOILUTSequence = deepcopy(voi)[:1]
        state.SoftcopyVOILUTSequence = [transformation]


def _set_shape(state: Dataset, image: Dataset) -> None:
    """The pixels' shape in the displayed area: spacing where it is known, else the aspect ratio (C.10.4)."""
    area = state.DisplayedAreaSelectionSequence[0]
    del area.PixelOriginInterpretation  # for whole-slide images only
    spacing = image.get("PixelSpacing") or image.get("ImagerPixelSpacing")
    ratio = numbers(image.get("PixelAspectRatio"))
    if spacing:
        area.PresentationPixelSpacing = list(spacing)
        del area.PresentationPixelAspectRatio
    elif len(ratio) == 2 and min(ratio) > 0:
        area.PresentationPixelAspectRatio = [int(side) for side in ratio]
