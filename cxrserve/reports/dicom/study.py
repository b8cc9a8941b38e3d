"""The findings of a study over its images, by the bundle's rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrserve.bundle.contract import Bundle
from cxrserve.bundle.operating_point import Decision
from cxrserve.ensemble.calibration import decision, thresholds
from cxrserve.reports.dicom.objects import ImageSummary
from cxrserve.reports.study import over_images


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFinding:
    """One finding of a study."""

    finding: str
    probability: float
    threshold: float
    positive: bool
    decision: Decision | None = None


def study_findings(summaries: Sequence[ImageSummary], bundle: Bundle) -> list[StudyFinding]:
    """Maximum or mean over the images. A finding that is not known for every image is left out."""
    if not summaries:  # every image was refused
        return []
    study = over_images(
        [
            # A summary of an earlier version has no score: its bundle's scores were the probabilities.
            [result.probability if result.score is None else result.score for result in summary.findings]
            for summary in summaries
        ],
        bundle,
    )
    thresholds_F = thresholds(bundle.contract, "studies")
    return [
        StudyFinding(
            finding=finding.finding,
            probability=float(probability),
            threshold=float(threshold),
            positive=bool(probability >= threshold),
            decision=decision(finding.finding, float(probability), bundle.contract, "studies"),
        )
        for finding, probability, threshold in zip(
            summaries[0].findings, study.probabilities_F, thresholds_F, strict=True
        )
        if finding.threshold is not None and not np.isnan(probability)
    ]
