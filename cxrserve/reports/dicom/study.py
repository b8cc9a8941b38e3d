"""The findings of a study over its images, by the bundle's rule. As `reports.answer.study_answer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxrserve.ensemble.bundle import Bundle
from cxrserve.reports.dicom.objects import ImageSummary


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFinding:
    """One finding of a study."""

    finding: str
    probability: float
    threshold: float
    positive: bool


def study_findings(summaries: Sequence[ImageSummary], bundle: Bundle) -> list[StudyFinding]:
    """Maximum or mean over the images; a finding that an image does not tell is left out."""
    made = []
    for together in zip(*(summary.findings for summary in summaries), strict=True):
        told = [each.probability for each in together if each.probability is not None]
        threshold = together[0].threshold
        if len(told) < len(together) or threshold is None:
            continue
        whole = max(told) if bundle.contract.study_rule == "maximum" else sum(told) / len(told)
        made.append(
            StudyFinding(
                finding=together[0].finding,
                probability=whole,
                threshold=threshold,
                positive=whole >= threshold,
            )
        )
    return made
