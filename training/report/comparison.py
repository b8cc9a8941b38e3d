"""The page of several bundles on the same data."""

from __future__ import annotations

from collections.abc import Sequence

from training.report import tables
from training.report.evaluation import Evaluation
from training.report.facts import RunFacts
from training.report.figures_resolution import resolution_figure
from training.report.html import drawing, join, page, paragraph
from training.report.sections import closing


def comparison_page(evaluations: Sequence[Evaluation], run: RunFacts) -> str:
    """Several bundles on the same data, as HTML."""
    first = evaluations[0]
    lead = paragraph(
        f"{len(evaluations)} bundles on {first.data}: {first.count:,} {first.unit}, each through the path "
        "that serves.",
        "lead",
    )
    caption = "AUC, mean over the findings, against the side of the image; one line for each network."
    if run.repeats:
        caption += " Bars are standard deviations over seeds."
    sections = [
        (
            "bundles",
            "Side by side",
            join(
                [
                    tables.variants_table(evaluations),
                    paragraph("Mean AUC over the findings, in percent; the best stack is bold.", "note"),
                ]
            ),
        ),
        (
            "resolution",
            "Resolution",
            drawing(
                resolution_figure(evaluations, run.repeats),
                caption,
                alt="AUC against resolution for each network",
                narrow=True,
            ),
        ),
        (
            "findings",
            "By finding",
            join(
                [
                    tables.variants_by_finding_table(evaluations),
                    paragraph("The stack's AUC with DeLong's 95 % interval; the best is bold.", "note"),
                ]
            ),
        ),
    ]
    return page(
        f"{len(evaluations)} bundles compared",
        lead,
        sections,
        closing(first.sha256).replace("SHA-256 of", "First"),
    )
