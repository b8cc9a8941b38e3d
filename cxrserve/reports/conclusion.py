"""The conclusion of a study in words, the same in every kind of report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxrserve.findings import CLINICAL_ORDER, NAMES
from cxrserve.reports.dicom.objects import ImageSummary, Refusal
from cxrserve.reports.dicom.study import StudyFinding
from cxrserve.reports.notices import REPORT_DISCLAIMER


def conclusion(
    findings: Sequence[StudyFinding], summaries: Sequence[ImageSummary], refusals: Sequence[Refusal]
) -> str:
    """One paragraph: the notice, the positive findings in clinical order, and what is missing.

    Args:
        findings: of the study.
        summaries, refusals: of the images that were analysed, and of those that were not.
    """
    return " ".join(_sentences(findings, summaries, refusals))


def _sentences(
    findings: Sequence[StudyFinding], summaries: Sequence[ImageSummary], refusals: Sequence[Refusal]
) -> Iterator[str]:
    yield REPORT_DISCLAIMER
    if summaries:
        by_name = {finding.finding: finding for finding in findings}
        ordered = [by_name[name] for name in CLINICAL_ORDER if name in by_name]
        positive = [
            f"{finding.finding} {finding.probability:.2f} (operating point {finding.threshold:.2f})"
            for finding in ordered
            if finding.positive
        ]
        yield f"At or above the operating point: {', '.join(positive) or 'none'}."
        negative = [finding.finding for finding in ordered if not finding.positive]
        if negative:
            yield f"Below it: {', '.join(negative)}."
        unknown = [name for name in NAMES if name not in by_name]
        if unknown:
            yield f"Not known to this model: {', '.join(unknown)}."
    for refusal in refusals:
        uid = refusal.image.sop_instance_uid
        yield f"Image {uid} was not analysed: {refusal.title}. {refusal.detail}"
