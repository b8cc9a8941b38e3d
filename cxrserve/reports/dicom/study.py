"""The findings of a study over its images, by the bundle's rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrserve.ensemble.bundle import Bundle
from cxrserve.reports.dicom.objects import ImageSummary
from cxrserve.reports.study import over_images


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFinding:
    """One finding of a study."""

    finding: str
    probability: float
    threshold: float
    positive: bool


def study_findings(summaries: Sequence[ImageSummary], bundle: Bundle) -> list[StudyFinding]:
    """Maximum or mean over the images; a finding that an image does not tell is left out."""
    if not summaries:  # every image was refused
        return []
    _, whole_F = over_images(
        [[each.probability for each in summary.findings] for summary in summaries], bundle
    )
    return [
        StudyFinding(
            finding=each.finding,
            probability=float(whole),
            threshold=each.threshold,
            positive=bool(whole >= each.threshold),
        )
        for each, whole in zip(summaries[0].findings, whole_F, strict=True)
        if each.threshold is not None and not np.isnan(whole)
    ]
