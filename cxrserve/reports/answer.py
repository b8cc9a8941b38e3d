"""The answer as JSON: the pydantic models of the HTTP interface and of `cxrserve predict --format json`."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cxrserve.ensemble import heatmap
from cxrserve.ensemble.bundle import Bundle, Contract
from cxrserve.ensemble.pipeline import Reading
from cxrserve.ensemble.stack import sigmoid
from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.reports.pictures import heatmap_picture, png, scale_picture
from cxrserve.reports.study import over_images

DISCLAIMER = (
    "Research use only. Not a medical device: not for diagnosis, not for any decision about a patient."
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelAbout(_Part):
    """Which model answered."""

    name: str
    version: str
    sha256: str = Field(description="SHA-256 of bundle.json, which names every file of the bundle.")


class ImageReport(_Part):
    """What the image is and what was done to it. No patient data."""

    rows: int
    columns: int
    format: str = Field(description="dicom, jpeg or png; found in the content.")
    photometric_interpretation: str
    transfer_syntax: str | None = Field(description="DICOM transfer syntax UID.")
    profile: str = Field(description="How stored values became 8-bit grey: the dataset whose way it is.")
    applied: list[str] = Field(description="The steps done to this image, in order.")
    study_instance_uid: str | None
    series_instance_uid: str | None
    sop_instance_uid: str | None


class HeatmapReport(_Part):
    """Grad-CAM of the ensemble, or one scale's part of it, laid over the whole radiograph."""

    png: str = Field(
        description="8-bit grey PNG in base64, width × height, aligned with rows × columns; "
        "raw value = scale · (grey / 255)²."
    )
    width: int
    height: int
    max: float = Field(description="Largest raw value in the picture, before it was cut off at `scale`.")
    scale: float = Field(description="Raw value of grey 255: the same for all findings and all images.")


class ScaleReport(_Part):
    """What the network of one size says."""

    size: int
    logit: float | None = Field(description="Null where this scale's network does not know the finding.")
    probability: float | None = Field(description="σ(logit), null likewise.")
    weight: float = Field(
        description="Share of this scale in the finding; a finding's weights sum to 1, to 0 if unavailable."
    )
    heatmap: HeatmapReport | None = Field(
        None, description="What this scale brings to the finding's heatmap, in the same unit; if asked for."
    )


class FindingReport(_Part):
    """One finding."""

    finding: str
    probability: float | None = Field(
        description="Null where no network of the bundle knows the finding: nothing is said of it."
    )
    positive: bool = Field(description="probability ≥ threshold; false where the probability is null.")
    threshold: float | None = Field(description="The finding's operating point; null likewise.")
    scales: list[ScaleReport]
    heatmap: HeatmapReport | None


class Answer(_Part):
    """What the service says of one radiograph."""

    model: ModelAbout
    disclaimer: str = DISCLAIMER
    image: ImageReport
    findings: list[FindingReport] = Field(min_length=len(NAMES), max_length=len(NAMES))
    warnings: list[str]
    timing_ms: dict[str, float]


class StudyFinding(_Part):
    """One finding over all images of a study."""

    finding: str
    probability: float | None = Field(description="Null where no network of the bundle knows the finding.")
    positive: bool
    threshold: float | None
    decided_by: int | None = Field(
        description="Position of the image with the largest probability; null where the rule is the mean, "
        "or the probability is null."
    )


class StudyAnswer(_Part):
    """What the service says of one study: each image's answer, and the bundle's rule over them."""

    model: ModelAbout
    disclaimer: str = DISCLAIMER
    rule: str = Field(description="maximum or mean over the images.")
    findings: list[StudyFinding]
    images: list[Answer]
    warnings: list[str]
    timing_ms: dict[str, float]


def model_about(bundle: Bundle) -> ModelAbout:
    """Which model this is."""
    return ModelAbout(name=bundle.contract.name, version=bundle.contract.version, sha256=bundle.sha256)


def image_report(image: PreparedImage, contract: Contract) -> ImageReport:
    """What the image is, and what was done to it for the bundle of `contract`."""
    about = image.about
    return ImageReport(
        rows=about.rows,
        columns=about.columns,
        format=about.format,
        photometric_interpretation=about.photometric_interpretation,
        transfer_syntax=about.transfer_syntax,
        profile=contract.preprocessing.profile,
        applied=list(image.applied),
        study_instance_uid=about.study_instance_uid,
        series_instance_uid=about.series_instance_uid,
        sop_instance_uid=about.sop_instance_uid,
    )


def answer(reading: Reading, bundle: Bundle) -> Answer:
    """`reading` as the service answers it; draws the heatmaps, whose time counts as theirs."""
    started = time.perf_counter()
    findings = [_finding(index, reading, bundle.contract) for index in range(len(NAMES))]
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


def _finding(index: int, reading: Reading, contract: Contract) -> FindingReport:
    prediction = reading.prediction
    return FindingReport(
        finding=NAMES[index],
        probability=_known(prediction.probabilities_F[index]),
        positive=bool(prediction.positive_F[index]),
        threshold=_known(prediction.thresholds_F[index]),
        scales=[_scale(index, scale, reading, contract) for scale in range(len(prediction.sizes))],
        heatmap=_report(heatmap_picture(reading, index, contract), contract),
    )


def _scale(index: int, scale: int, reading: Reading, contract: Contract) -> ScaleReport:
    prediction = reading.prediction
    logit = prediction.logits_FS[index, scale]
    known = contract.members[scale].knows(NAMES[index])
    return ScaleReport(
        size=prediction.sizes[scale],
        logit=float(logit) if known else None,
        probability=float(sigmoid(logit)) if known else None,
        weight=float(prediction.weights_FS[index, scale]),
        heatmap=_report(scale_picture(reading, index, prediction.sizes[scale], contract), contract),
    )


def _known(value: float) -> float | None:
    """JSON has no NaN, and what is not known is nothing."""
    return None if math.isnan(value) else float(value)


def _report(picture_hw: heatmap.Map | None, contract: Contract) -> HeatmapReport | None:
    if picture_hw is None:
        return None
    height, width = picture_hw.shape
    return HeatmapReport(
        png=base64.b64encode(png(heatmap.to_grey(picture_hw, contract.heatmap_scale))).decode("ascii"),
        width=width,
        height=height,
        max=float(picture_hw.max()),
        scale=contract.heatmap_scale,
    )


def study_answer(answers: Sequence[Answer], bundle: Bundle) -> StudyAnswer:
    """The answers of one study's images under the bundle's rule.

    Raises:
        RequestError: the images belong to different studies, so far as they say.
    """
    studies = {one.image.study_instance_uid for one in answers} - {None}
    if len(studies) > 1:
        raise RequestError(f"the images belong to {len(studies)} different studies; send one study at a time")
    probabilities_NF, whole_F = over_images(
        [[finding.probability for finding in one.findings] for one in answers], bundle
    )
    by_maximum = bundle.contract.study_rule == "maximum"
    thresholds_F = np.array([finding.threshold for finding in answers[0].findings], np.float64)
    return StudyAnswer(
        model=model_about(bundle),
        rule=bundle.contract.study_rule,
        findings=[
            StudyFinding(
                finding=name,
                probability=_known(whole_F[index]),
                positive=bool(whole_F[index] >= thresholds_F[index]),
                threshold=_known(thresholds_F[index]),
                decided_by=_decider(probabilities_NF[:, index]) if by_maximum else None,
            )
            for index, name in enumerate(NAMES)
        ],
        images=list(answers),
        warnings=[],
        timing_ms={"total": round(sum(one.timing_ms["total"] for one in answers), 2)},
    )


def _decider(probabilities_N: NDArray[np.float64]) -> int | None:
    return None if np.isnan(probabilities_N).any() else int(probabilities_N.argmax())
