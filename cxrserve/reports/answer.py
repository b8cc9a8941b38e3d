"""The answer as JSON: the pydantic models of the HTTP interface and of `cxrserve predict --format json`."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cxrserve.bundle.calibration import CalibrationMethod
from cxrserve.bundle.contract import Bundle, Contract, HeatmapCurve
from cxrserve.bundle.operating_point import Decision
from cxrserve.ensemble import heatmap
from cxrserve.ensemble.calibration import decision, score_threshold, thresholds
from cxrserve.ensemble.stack import sigmoid
from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.dicom.regions import regions
from cxrserve.reports.notices import DISCLAIMER
from cxrserve.reports.pictures import heatmap_picture, png, scale_picture
from cxrserve.reports.study import over_images
from cxrserve.schema import Frozen
from cxrserve.warnings import ImageWarning


class ModelAbout(Frozen):
    """The model that answered."""

    name: str
    version: str
    sha256: str = Field(description="SHA-256 of bundle.json, which names every file of the bundle.")
    site: str | None = Field(None, description="Name and version of the adopted site file; null without one.")


class ImageReport(Frozen):
    """The image and the steps that prepared it. No patient data."""

    rows: int
    columns: int
    format: str = Field(description="dicom, jpeg or png; found in the content.")
    photometric_interpretation: str
    transfer_syntax: str | None = Field(description="DICOM transfer syntax UID.")
    profile: str = Field(description="Conversion of stored values to 8-bit grey, named after its dataset.")
    applied: list[str] = Field(description="The steps applied to this image, in order.")
    view_position: str | None = Field(None, description="View Position of a DICOM image, such as PA.")
    study_instance_uid: str | None
    series_instance_uid: str | None
    sop_instance_uid: str | None


class HeatmapReport(Frozen):
    """Grad-CAM of the ensemble, or one scale's part of it, laid over the whole radiograph."""

    png: str = Field(
        description="8-bit grey PNG in base64, width × height, aligned with rows × columns; "
        "raw value = scale · grey / 255 on the linear curve, scale · (grey / 255)² on the square-root one."
    )
    width: int
    height: int
    max: float = Field(description="Largest raw value in the picture, before it was cut off at `scale`.")
    scale: float = Field(description="Raw value of grey 255 in nats: one for each finding, for all images.")
    curve: HeatmapCurve = Field(
        "square-root", description="linear where the bundle holds a scale for the finding."
    )
    unit: Literal["nats"] = Field("nats", description="Of raw values: nats of −log(1 − probability).")


class ScaleReport(Frozen):
    """The answer of one network, for one finding."""

    size: int
    logit: float | None = Field(
        description="The logit that was stacked. Null where this scale's network does not know the finding."
    )
    probability: float | None = Field(description="σ(logit), null likewise.")
    weight: float = Field(
        description="Share of this scale in the finding; a finding's weights sum to 1, to 0 if unavailable."
    )
    heatmap: HeatmapReport | None = Field(
        None, description="This scale's share of the finding's heatmap, in the same unit; if requested."
    )


class Contour(Frozen):
    """The outline of a region with evidence for a finding, at half of the heatmap's largest value."""

    points: list[tuple[float, float]] = Field(
        description="Column and row in pixels of the image, first point = last; 0.5, 0.5 is the middle "
        "of the first pixel."
    )
    share: float = Field(description="Part of the whole heatmap's sum inside.")


class FindingReport(Frozen):
    """One finding."""

    finding: str
    probability: float | None = Field(
        description="The calibrated score. Null where no network of the bundle knows the finding."
    )
    positive: bool = Field(description="probability ≥ threshold; false where the probability is null.")
    threshold: float | None = Field(description="The finding's operating point; null likewise.")
    score: float | None = Field(
        None, description="The stack's value, Σ weight · σ(logit) over the scales, before its calibration."
    )
    score_threshold: float | None = Field(None, description="The operating point as a score.")
    calibration: CalibrationMethod | None = Field(
        None, description="From score to probability; identity where the two are equal."
    )
    decision: Decision | None = Field(
        None,
        description="Presence by the bundle's pair of rule-out and rule-in thresholds, where it holds one; "
        "else by the operating point.",
    )
    scales: list[ScaleReport]
    heatmap: HeatmapReport | None
    contours: list[Contour] | None = Field(
        None,
        description="With `contours=true`: outlines of the heatmap's evidence, at most 3, strongest first; "
        "empty where it is spread out.",
    )


class Answer(Frozen):
    """The answer for one radiograph."""

    model: ModelAbout
    disclaimer: str = DISCLAIMER
    image: ImageReport
    findings: list[FindingReport] = Field(min_length=len(NAMES), max_length=len(NAMES))
    warnings: list[ImageWarning]
    timing_ms: dict[str, float]


class StudyFinding(Frozen):
    """One finding over all images of a study."""

    finding: str
    probability: float | None = Field(description="Null where no network of the bundle knows the finding.")
    positive: bool
    threshold: float | None = Field(description="The operating point of studies.")
    score: float | None = Field(None, description="The rule's value over the images' scores.")
    decision: Decision | None = Field(None, description="Presence, as for an image.")
    decided_by: int | None = Field(
        description="Position of the image with the largest score; null where the rule is the mean, "
        "or the probability is null."
    )


class StudyAnswer(Frozen):
    """The answer for one study: each image's answer, and the bundle's rule over them."""

    model: ModelAbout
    disclaimer: str = DISCLAIMER
    rule: str = Field(description="maximum or mean over the images.")
    findings: list[StudyFinding]
    images: list[Answer]
    warnings: list[ImageWarning]
    timing_ms: dict[str, float]


def model_about(bundle: Bundle) -> ModelAbout:
    """Name, version and hash of the bundle."""
    return ModelAbout(
        name=bundle.contract.name,
        version=bundle.contract.version,
        sha256=bundle.sha256,
        site=None if bundle.site is None else str(bundle.site),
    )


def image_report(image: PreparedImage, contract: Contract) -> ImageReport:
    """Describe the image, and the steps that prepared it for the bundle of `contract`."""
    about = image.about
    return ImageReport(
        rows=about.rows,
        columns=about.columns,
        format=about.format,
        photometric_interpretation=about.photometric_interpretation,
        transfer_syntax=about.transfer_syntax,
        profile=contract.preprocessing.profile,
        applied=list(image.applied),
        view_position=about.view_position,
        study_instance_uid=about.study_instance_uid,
        series_instance_uid=about.series_instance_uid,
        sop_instance_uid=about.sop_instance_uid,
    )


def answer(reading: Reading, bundle: Bundle, *, contours: bool = False) -> Answer:
    """Make the JSON answer of `reading`. Drawing the heatmaps counts as time of stage `heatmaps`.

    Args:
        contours: adds the outlines of each heatmap.
    """
    started = time.perf_counter()
    findings = [_finding(index, reading, bundle.contract, contours) for index in range(len(NAMES))]
    drawing_ms = (time.perf_counter() - started) * 1000
    timing_ms = {**reading.timing_ms}
    for stage in ("heatmaps", "total"):
        timing_ms[stage] += drawing_ms
    return Answer(
        model=model_about(bundle),
        image=image_report(reading.image, bundle.contract),
        findings=findings,
        warnings=list(reading.image.warnings),
        timing_ms={stage: round(ms, 2) for stage, ms in timing_ms.items()},
    )


def _finding(index: int, reading: Reading, contract: Contract, contours: bool) -> FindingReport:
    prediction = reading.prediction
    picture_hw = heatmap_picture(reading, index, contract)
    return FindingReport(
        finding=NAMES[index],
        probability=_finite(prediction.probabilities_F[index]),
        positive=bool(prediction.positive_F[index]),
        threshold=_finite(prediction.thresholds_F[index]),
        score=_finite(prediction.scores_F[index]),
        score_threshold=_finite(score_threshold(NAMES[index], contract)),
        calibration=contract.calibration_of(NAMES[index]).method,
        decision=decision(NAMES[index], prediction.probabilities_F[index], contract),
        scales=[_scale(index, scale, reading, contract) for scale in range(len(prediction.sizes))],
        heatmap=_report(picture_hw, NAMES[index], contract),
        contours=_contours(picture_hw, reading) if contours and picture_hw is not None else None,
    )


def _contours(picture_hw: heatmap.Map, reading: Reading) -> list[Contour]:
    about = reading.image.about
    return [
        Contour(points=list(region.points), share=region.share)
        for region in regions(picture_hw, about.rows, about.columns)
    ]


def _scale(index: int, scale: int, reading: Reading, contract: Contract) -> ScaleReport:
    prediction = reading.prediction
    logit = prediction.logits_FS[index, scale]
    known = bool(prediction.supported_FS[index, scale])
    return ScaleReport(
        size=prediction.sizes[scale],
        logit=float(logit) if known else None,
        probability=float(sigmoid(logit)) if known else None,
        weight=float(prediction.weights_FS[index, scale]),
        heatmap=_report(
            scale_picture(reading, index, prediction.sizes[scale], contract), NAMES[index], contract
        ),
    )


def _finite(value: float) -> float | None:
    """`value`, or None for NaN, which JSON cannot hold."""
    return None if math.isnan(value) else float(value)


def _report(picture_hw: heatmap.Map | None, name: str, contract: Contract) -> HeatmapReport | None:
    if picture_hw is None:
        return None
    height, width = picture_hw.shape
    scale, curve = contract.full_strength(name), contract.heatmap_curve(name)
    return HeatmapReport(
        png=base64.b64encode(png(heatmap.to_grey(picture_hw, scale, curve))).decode("ascii"),
        width=width,
        height=height,
        max=float(picture_hw.max()),
        scale=scale,
        curve=curve,
    )


def study_answer(answers: Sequence[Answer], bundle: Bundle) -> StudyAnswer:
    """The answers of one study's images under the bundle's rule.

    Raises:
        RequestError: the images belong to different studies, as far as their headers name one.
    """
    studies = {answer.image.study_instance_uid for answer in answers} - {None}
    if len(studies) > 1:
        raise RequestError(f"the images belong to {len(studies)} different studies; send one study at a time")
    study = over_images([[finding.score for finding in answer.findings] for answer in answers], bundle)
    by_maximum = bundle.contract.study_rule == "maximum"
    thresholds_F = thresholds(bundle.contract, "studies")
    return StudyAnswer(
        model=model_about(bundle),
        rule=bundle.contract.study_rule,
        findings=[
            StudyFinding(
                finding=name,
                probability=_finite(study.probabilities_F[index]),
                positive=bool(study.probabilities_F[index] >= thresholds_F[index]),
                threshold=_finite(thresholds_F[index]),
                score=_finite(study.scores_F[index]),
                decision=decision(name, study.probabilities_F[index], bundle.contract, "studies"),
                decided_by=_decider(study.images_NF[:, index]) if by_maximum else None,
            )
            for index, name in enumerate(NAMES)
        ],
        images=list(answers),
        warnings=[],
        timing_ms={"total": round(sum(answer.timing_ms["total"] for answer in answers), 2)},
    )


def _decider(scores_N: NDArray[np.float64]) -> int | None:
    return None if np.isnan(scores_N).any() else int(scores_N.argmax())
