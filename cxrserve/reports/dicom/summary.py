"""Summary of one image in plain values, to be stored until the study is complete."""

from __future__ import annotations

import math

from cxrserve.bundle.contract import Bundle, Contract
from cxrserve.ensemble.calibration import decision
from cxrserve.ensemble.heatmap import Map
from cxrserve.ensemble.stack import sigmoid
from cxrserve.findings import NAMES
from cxrserve.imaging.orientation import as_stored
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.dicom.objects import (
    FindingSummary,
    HeatmapSummary,
    ImageSummary,
    Region,
    ScaleSummary,
)
from cxrserve.reports.dicom.regions import regions
from cxrserve.reports.dicom.source import Source
from cxrserve.reports.pictures import heatmap_picture

_WITHOUT_REGIONS = "No Finding"  # evidence for it has no location


def image_summary(source: Source, reading: Reading, bundle: Bundle) -> ImageSummary:
    """Summarise the reading of the image `source`, without a reference to an overlay."""
    about = reading.image.about
    return ImageSummary(
        study_instance_uid=source.study_instance_uid,
        image=source.reference,
        rows=about.stored_shape[0],
        columns=about.stored_shape[1],
        view_position=about.view_position,
        profile=bundle.contract.preprocessing.profile,
        applied=tuple(reading.image.applied),
        warnings=tuple(reading.image.warnings),
        findings=finding_summaries(reading, bundle),
        overlay=None,
        model_sha256=bundle.sha256,
    )


def finding_summaries(reading: Reading, bundle: Bundle) -> tuple[FindingSummary, ...]:
    """Summarise the 14 findings of a reading of any image, DICOM or not."""
    return tuple(_finding(index, reading, bundle) for index in range(len(NAMES)))


def _finding(index: int, reading: Reading, bundle: Bundle) -> FindingSummary:
    prediction = reading.prediction
    probability, threshold = float(prediction.probabilities_F[index]), float(prediction.thresholds_F[index])
    is_known = math.isfinite(probability)
    positive = is_known and bool(prediction.positive_F[index])
    picture_hw = heatmap_picture(reading, index, bundle.contract)
    return FindingSummary(
        finding=NAMES[index],
        probability=probability if is_known else None,
        threshold=threshold if is_known else None,
        positive=positive,
        score=float(prediction.scores_F[index]) if is_known else None,
        decision=decision(NAMES[index], probability, bundle.contract),
        scales=tuple(
            ScaleSummary(
                size=size, logit=float(logit), probability=float(sigmoid(logit)), weight=float(weight)
            )
            for size, known, logit, weight in zip(
                prediction.sizes,
                prediction.supported_FS[index],
                prediction.logits_FS[index],
                prediction.weights_FS[index],
                strict=True,
            )
            if known
        ),
        regions=_regions(index, picture_hw, reading) if positive else (),
        heatmap=None if picture_hw is None else _heatmap(NAMES[index], picture_hw, bundle.contract),
    )


def _heatmap(name: str, picture_hw: Map, contract: Contract) -> HeatmapSummary:
    return HeatmapSummary(
        largest=float(picture_hw.max()),
        scale=contract.full_strength(name),
        curve=contract.heatmap_curve(name),
    )


def _regions(index: int, picture_hw: Map | None, reading: Reading) -> tuple[Region, ...]:
    if picture_hw is None or NAMES[index] == _WITHOUT_REGIONS:
        return ()
    about = reading.image.about
    return regions(as_stored(picture_hw, about.orientation), *about.stored_shape)
