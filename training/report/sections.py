"""The report's page, section by section: which figures and tables stand where, and what is said of them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from cxrserve import __version__
from training.report import figures_data, figures_scores, tables
from training.report.evaluation import Evaluation
from training.report.facts import RunFacts
from training.report.figures_resolution import resolution_figure
from training.report.html import Markup, cards, drawing, join, page, paragraph, picture
from training.report.scores import STACK, VOTING
from training.report.style import label_of, signed

if TYPE_CHECKING:
    from training.report.evaluate_bundle import Pictured

Section = tuple[str, str, Markup]
RESEARCH: Final = (
    "Research software; not a medical device. No figure here is about what a reader would decide."
)


def report_page(evaluation: Evaluation, pictured: Pictured) -> str:
    """The whole report as HTML."""
    contract = pictured.scores.contract
    lead = join(
        [
            paragraph(
                f"Version {evaluation.version} of {evaluation.bundle}, made by the recipe "
                f"{evaluation.recipe} from {evaluation.trained_on}. Measured on {evaluation.data}: "
                f"{evaluation.count:,} {evaluation.unit}, through the path that serves, "
                f"{evaluation.engine}.",
                "lead",
            ),
            _limits(contract.intended_use, contract.limits),
            _headline(evaluation),
        ]
    )
    sections = [
        _ranking(evaluation),
        *([_scales(evaluation, pictured.run)] if len(evaluation.sizes) > 1 else []),
        _curves(evaluation, pictured),
        _decisions(evaluation),
        *([_cams(pictured)] if pictured.examples else []),
        *([_fields(evaluation, pictured)] if pictured.fields else []),
        *([_groups(evaluation)] if evaluation.groups else []),
        *([_data(pictured)] if pictured.co_occurrence or pictured.run.shapes else []),
        *([_cost(evaluation)] if evaluation.footprints or evaluation.fits else []),
        *([_fits(pictured.run)] if pictured.run.curves else []),
    ]
    return page(f"{evaluation.bundle}: what it can tell", lead, sections, closing(evaluation.sha256))


def closing(sha256: str) -> str:
    """The page's last line."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{RESEARCH} SHA-256 of bundle.json {sha256[:16]}…; cxrserve {__version__}, {today}."


def _limits(intended_use: str, limits: Sequence[str]) -> Markup:
    return join(
        [
            Markup('<div class="limits">'),
            paragraph(intended_use),
            *(paragraph(limit, "note") for limit in limits),
            Markup("</div>"),
        ]
    )


def _headline(evaluation: Evaluation) -> Markup:
    means = evaluation.means
    single = {column: value for column, value in means.items() if column not in (STACK, VOTING)}
    figures = [(f"{means[STACK]:.3f}", "AUC of the stack, mean over findings")] if STACK in means else []
    if len(single) > 1:
        best = max(single, key=lambda column: single[column])
        figures.append((signed(means[STACK] - single[best]), f"over the best single scale, {best} px"))
        figures.append((signed(means[STACK] - means[VOTING]), "over plain averaging"))
        figures.append(
            (
                f"{evaluation.beaten} of {evaluation.compared}",
                "findings where the stack is at least as good as their best scale",
            )
        )
    return cards(figures)


def _ranking(evaluation: Evaluation) -> Section:
    spoken = "mean ± standard deviation over the folds" if evaluation.fold_means else "95 % interval below"
    parts = [
        paragraph(
            f"Area under the ROC curve of every finding at every scale, of plain averaging (voting) and of "
            f"the stack; {spoken}. Bold is the best single scale; the last columns are the stack less that "
            f"scale, and the {evaluation.unit} that show the finding.",
            "lead",
        ),
        tables.auc_table(evaluation),
        paragraph(
            "Intervals are DeLong's, on the scale of the logit; of the difference, DeLong's for curves of "
            "the same images. An AUC of exactly 1 has no interval. The best scale was chosen on these very "
            "images, so the difference leans against the stack. Means are over the findings that every "
            "column has.",
            "note",
        ),
        drawing(
            figures_scores.auc_figure(evaluation),
            "The same as a figure: dots are single scales, the diamond is the stack, lines are intervals.",
            alt="AUC with its interval, for each finding and scale",
        ),
    ]
    if evaluation.unavailable:
        names = ", ".join(evaluation.unavailable)
        parts.insert(1, paragraph(f"No network of this bundle knows {names}: nothing is said of them."))
    return "ranking", "How well findings are told apart", join(parts)


def _scales(evaluation: Evaluation, run: RunFacts) -> Section:
    resolution = "Mean AUC over the findings against the side of the image."
    if run.repeats:
        resolution += " Each dot is the mean over folds and seeds, its bar their standard deviation."
    wins = ", ".join(f"{label_of(size)} for {count}" for size, count in evaluation.wins.items())
    return (
        "scales",
        "Which scale counts for what",
        join(
            [
                paragraph(
                    "The weight of each scale in each finding's stack. It is a share of the probability: "
                    "100 % means that this scale alone decides.",
                    "lead",
                ),
                drawing(
                    figures_scores.weights_figure(evaluation),
                    f"Weights of the stack in percent. The best single scale by AUC: {wins} findings.",
                    alt="Weight of each scale for each finding",
                ),
                drawing(
                    resolution_figure([evaluation], run.repeats),
                    resolution,
                    alt="AUC against resolution",
                    narrow=True,
                ),
            ]
        ),
    )


def _curves(evaluation: Evaluation, pictured: Pictured) -> Section:
    return (
        "curves",
        "ROC, precision and recall",
        join(
            [
                drawing(
                    figures_scores.roc_figure(pictured.scores, evaluation.findings),
                    "ROC. The figure in each corner is the stack's AUC, the dot its operating point.",
                    alt="ROC curves of each finding",
                ),
                drawing(
                    figures_scores.precision_recall_figure(pictured.scores, evaluation.findings),
                    "Precision against recall. AP is the stack's average precision; the dotted line is what "
                    "guessing would reach, the finding's share.",
                    alt="Precision-recall curves of each finding",
                ),
            ]
        ),
    )


def _decisions(evaluation: Evaluation) -> Section:
    return (
        "decisions",
        "Decisions and calibration",
        join(
            [
                paragraph(
                    "What the stack decides at the operating points that the bundle holds, which were chosen "
                    "on other images, and how far its probabilities are from frequencies: Brier score (mean "
                    "squared error) and expected calibration error over ten bins.",
                    "lead",
                ),
                tables.decisions_table(evaluation),
                drawing(
                    figures_scores.calibration_figure(evaluation),
                    "Reliability: in ten bins of the probability, how often the finding was there. A dot's "
                    "area grows with the images in it; on the dotted line probabilities are frequencies.",
                    alt="Reliability diagrams of each finding",
                ),
            ]
        ),
    )


def _cams(pictured: Pictured) -> Section:
    scores = pictured.scores
    columns = [*map(str, scores.sizes), STACK]
    figure = figures_data.cams_figure(pictured.examples, columns, scores.contract.heatmap_scale)
    outlined = any(example.place is not None for example in pictured.examples)
    words = " The outline in the first column is where the finding really is." if outlined else ""
    return (
        "cams",
        "Where each scale looks",
        picture(
            figure,
            "Grad-CAM of single scales, each as if it served alone, and of the ensemble. The examples are "
            "those of middling probability among the images that were found: neither the best nor the worst. "
            f"Colours are the service's own, one scale for all pictures.{words}",
            alt="Radiographs with the heatmap of each scale and of the ensemble",
        ),
    )


def _fields(evaluation: Evaluation, pictured: Pictured) -> Section:
    fields = {size: field.field_SS for size, field in pictured.fields.items()}
    results = {size: field.result for size, field in pictured.fields.items()}
    counts = sorted({result.images for result in results.values()})
    used = " to ".join(map(str, sorted({counts[0], counts[-1]})))
    return (
        "fields",
        "How much of the image a network sees at once",
        join(
            [
                paragraph(
                    "The effective receptive field of the middle cell of the last features, relative to the "
                    "image: squared gradients, averaged over shifted images. The theoretical field is "
                    "computed from the layers of the graph that serves.",
                    "lead",
                ),
                picture(
                    figures_data.fields_figure(fields, results),
                    f"Effective receptive fields, averaged over {used} images. Full circle: half of the "
                    "field's energy; dashed: 95 %. Each picture against its own largest value.",
                    alt="Effective receptive field at each scale",
                ),
            ]
        ),
    )


def _groups(evaluation: Evaluation) -> Section:
    words = (
        "Findings with fewer than five images of either kind in a group are not judged there, so means of "
        "groups may be over different findings."
    )
    parts = [tables.groups_table(evaluation)]
    if any(group.mean is not None for group in evaluation.groups):
        figure = figures_scores.groups_figure(evaluation)
        parts.append(drawing(figure, words, alt="AUC of the stack in each group"))
    else:
        parts.append(paragraph(words, "note"))
    return "groups", "By view, sex and age", join(parts)


def _data(pictured: Pictured) -> Section:
    parts: list[Markup] = []
    if pictured.run.shapes:
        parts.append(
            drawing(
                figures_data.image_sizes_figure(pictured.run.shapes),
                "Sizes of the original images, columns × rows.",
                alt="Histogram of image sizes",
            )
        )
    if pictured.co_occurrence is not None:
        whose = "the test set" if pictured.run.source_labels_NF is None else "the whole dataset"
        parts.append(
            drawing(
                figures_data.co_occurrence_figure(pictured.co_occurrence),
                f"Labels of {whose}: of the images with the row's finding, the percentage that also have the "
                "column's. In brackets, the share of all images.",
                alt="Co-occurrence of labels in percent",
            )
        )
    return "data", "The data", join(parts)


def _cost(evaluation: Evaluation) -> Section:
    engines = {found.engine for found in evaluation.footprints.values()}
    served = f"Served by {' and '.join(sorted(engines))}, each member alone in a process. " if engines else ""
    fitted = "" if evaluation.fits else "Nothing is known here of what fitting took."
    return (
        "cost",
        "What it costs",
        join(
            [
                tables.cost_table(evaluation, evaluation.footprints, evaluation.fits),
                paragraph(
                    f"{served}Peak resident memory holds the program itself, whose share stands beside it. "
                    f"{fitted}",
                    "note",
                ),
            ]
        ),
    )


def _fits(run: RunFacts) -> Section:
    return (
        "fits",
        "How the fits went",
        drawing(
            figures_data.curves_figure(run.curves),
            "Losses by epoch, as the fits wrote them down.",
            alt="Training curves",
        ),
    )
