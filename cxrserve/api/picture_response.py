"""Builds the PNG form of a prediction: one finding's heatmap over its radiograph."""

from __future__ import annotations

from typing import Final

from cxrserve.api.accept import PNG_TYPE
from cxrserve.bundle.contract import Bundle
from cxrserve.ensemble.predictor import Explain
from cxrserve.errors import RequestError
from cxrserve.findings import INDEX, NO_FINDING, URGENCY_ORDER
from cxrserve.multipart import Body
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.pictures import OVERLAY_SIDE, overlay, png

PREVIEW_SIDE: Final = OVERLAY_SIDE


def check_names_a_finding(explain: Explain) -> None:
    """Check that a picture can be drawn of what `heatmaps` names.

    Raises:
        RequestError: it names no finding, or several.
    """
    if explain == "none" or (not isinstance(explain, str) and len(explain) != 1):
        raise RequestError(
            "a picture shows one finding. Name it in heatmaps, for example heatmaps=Pneumothorax; or send "
            "heatmaps=positive for the most urgent one above its operating point."
        )


def picture_body(reading: Reading, bundle: Bundle, explain: Explain) -> Body:
    """The overlay of the finding that `explain` names, or of the most urgent positive one.

    Raises:
        RequestError: no finding is above its operating point, or no network knows the named one.
    """
    index = _most_urgent(reading) if isinstance(explain, str) else next(iter(explain))
    picture = None if index is None else overlay(reading, index, bundle.contract)
    if picture is None:
        raise RequestError(
            "there is no heatmap to draw: no finding of this image is above its operating point, or no "
            "network of the bundle knows the finding. Name another finding in heatmaps."
        )
    return Body(content=png(picture), media_type=PNG_TYPE)


def _most_urgent(reading: Reading) -> int | None:
    for name in URGENCY_ORDER:
        if name != NO_FINDING and reading.prediction.positive_F[INDEX[name]]:
            return INDEX[name]
    return None
