"""The page of several bundles on the same data."""

from __future__ import annotations

from collections.abc import Sequence

from training.report import comparison_tables as tables
from training.report.evaluation import Evaluation
from training.report.facts import RunFacts
from training.report.figures_resolution import resolution_figure
from training.report.html import Markup, drawing, join, page, paragraph
from training.report.own_folds import OwnFolds, same_split
from training.report.sections import closing


def comparison_page(evaluations: Sequence[Evaluation], run: RunFacts, runs: Sequence[OwnFolds] = ()) -> str:
    """Several bundles on the same data, as HTML.

    Args:
        runs: the folds and seeds of the bundles' own runs, where all of them have several.
    """
    first = evaluations[0]
    lead = paragraph(
        f"{len(evaluations)} bundles on {first.data}: {first.count:,} {first.unit}, each through the path "
        "that serves.",
        "lead",
    )
    caption = "AUC, mean over the findings, against the side of the image; one line for each network."
    if run.repeats:
        caption += " Bars are standard deviations over folds or seeds."
    sections = [
        *([("folds", "Over the folds and seeds of each run", _over_folds(runs))] if runs else []),
        (
            "bundles",
            "Side by side",
            join(
                [
                    tables.variants_table(evaluations),
                    paragraph(_note(evaluations), "note"),
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
                    paragraph("The stack's AUC with its 95 % interval by patient; the best is bold.", "note"),
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


def _over_folds(runs: Sequence[OwnFolds]) -> Markup:
    """Each run on the test images of its own folds."""
    folds = (
        "All runs tested the same images in the same folds, so differences are paired by fold."
        if same_split(runs)
        else "The runs did not test the same folds: their figures are of different images."
    )
    return join(
        [
            paragraph(
                f"AUC and accuracy in percent, as mean ± standard deviation over folds and seeds. {folds}",
                "lead",
            ),
            tables.folds_table(runs),
            paragraph("Means are over the findings that all folds of all runs have.", "note"),
            tables.folds_by_finding_table(runs),
        ]
    )


def _note(evaluations: Sequence[Evaluation]) -> str:
    """The findings that the means are over."""
    names = tables.shared_findings(evaluations)
    if not names:
        return "No finding is known to all of these bundles: there is no mean to compare."
    listed = "" if len(names) == len(evaluations[0].findings) else f": {', '.join(names)}"
    return (
        f"Mean AUC in percent over the {len(names)} findings that all of these bundles know{listed}. "
        "The best stack is bold. Accuracy is the stack's at a probability of one half."
    )
