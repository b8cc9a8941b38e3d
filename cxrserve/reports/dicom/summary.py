"""One image in plain values: what the report says of it, ready to be kept until the study is complete."""

from __future__ import annotations

import math

from cxrserve.ensemble.bundle import Bundle
from cxrserve.ensemble.pipeline import Reading
from cxrserve.ensemble.stack import sigmoid
from cxrserve.findings import NAMES
from cxrserve.reports.dicom.objects import (
    FindingSummary,
    ImageSummary,
    Region,
    ScaleSummary,
)
from cxrserve.reports.dicom.regions import regions
from cxrserve.reports.dicom.source import Source
from cxrserve.reports.pictures import heatmap_picture

_NOWHERE = "No Finding"  # positive evidence for it lies nowhere


def image_summary(source: Source, reading: Reading, bundle: Bundle) -> ImageSummary:
    """What `bundle` says of the image `source`, without an overlay to point at."""
    about = reading.image.about
    return ImageSummary(
        study_instance_uid=source.study_instance_uid,
        image=source.reference,
        rows=about.rows,
        columns=about.columns,
        view_position=about.view_position,
        profile=bundle.contract.preprocessing.profile,
        applied=tuple(reading.image.applied),
        warnings=tuple(reading.image.warnings),
        findings=tuple(_finding(index, reading, bundle) for index in range(len(NAMES))),
        overlay=None,
        model_sha256=bundle.sha256,
    )


def _finding(index: int, reading: Reading, bundle: Bundle) -> FindingSummary:
    prediction = reading.prediction
    probability, threshold = float(prediction.probabilities_F[index]), float(prediction.thresholds_F[index])
    known = math.isfinite(probability)
    positive = known and bool(prediction.positive_F[index])
    return FindingSummary(
        finding=NAMES[index],
        probability=probability if known else None,
        threshold=threshold if known else None,
        positive=positive,
        scales=tuple(
            ScaleSummary(
                size=size, logit=float(logit), probability=float(sigmoid(logit)), weight=float(weight)
            )
            for size, logit, weight in zip(
                prediction.sizes, prediction.logits_FS[index], prediction.weights_FS[index], strict=True
            )
            if math.isfinite(logit)
        ),
        regions=_regions(index, reading, bundle) if positive else (),
    )


def _regions(index: int, reading: Reading, bundle: Bundle) -> tuple[Region, ...]:
    picture_hw = heatmap_picture(reading, index, bundle.contract)
    if picture_hw is None or NAMES[index] == _NOWHERE:
        return ()
    return regions(picture_hw, reading.image.about.rows, reading.image.about.columns)
