"""The report's page, section by section: which figures and tables stand where, and what is said of them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

from cxrserve import __version__
from cxrserve.bundle.contract import Lineage
from cxrserve.imaging.pyramid import Preprocessing
from training.datasets.pictures import expected_inputs
from training.report import figures_data, figures_decisions, figures_pictures, figures_scores, tables
from training.report.claims import claims_of, claims_table
from training.report.evaluation import Evaluation
from training.report.facts import RunFacts
from training.report.figures_resolution import resolution_figure
from training.report.film_check_groups import (
    MIN_IMAGES,
    MIN_JUDGED,
    UNEVEN,
    FilmCheckResult,
    uneven_words,
)
from training.report.html import Markup, cards, drawing, heading, join, page, paragraph, picture
from training.report.pictured import Pictured
from training.report.pooled import Pooled
from training.report.scores import STACK, VOTING
from training.report.style import label_of, signed

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
            *_provenance(contract.lineage),
            _inputs(contract.preprocessing),
            _headline(evaluation),
        ]
    )
    sections = [
        _ranking(evaluation, pictured),
        *([_scales(evaluation, pictured.run), _claims(evaluation)] if len(evaluation.sizes) > 1 else []),
        _curves(evaluation, pictured),
        _decisions(evaluation, pictured),
        *([_cams(pictured)] if pictured.examples else []),
        *([_outputs(pictured)] if pictured.outputs else []),
        *([_fields(evaluation, pictured)] if pictured.fields else []),
        *([_groups(evaluation)] if evaluation.groups else []),
        *([_film_check(evaluation.film_check)] if evaluation.film_check else []),
        *([_data(pictured)] if pictured.co_occurrence or pictured.run.shapes or pictured.levels else []),
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


def _provenance(lineage: Lineage) -> list[Markup]:
    """The weights that training started from, and every setting that is not the published one."""
    parts = [paragraph(f"The networks started from {lineage.weights}.", "note")] if lineage.weights else []
    if lineage.settings:
        parts.append(paragraph(f"Not as published: {'; '.join(lineage.settings)}.", "note"))
    return parts


def _inputs(preprocessing: Preprocessing) -> Markup:
    """The expectations of the bundle about a file of each format."""
    words = "; ".join(f"of {name} {text}" for name, text in expected_inputs(preprocessing).items())
    return paragraph(f"It expects {words}.", "note")


def _headline(evaluation: Evaluation) -> Markup:
    means = evaluation.shown_means
    over = ", over the folds" if evaluation.fold_means else ""
    single = {column: value for column, value in means.items() if column not in (STACK, VOTING)}
    figures = (
        [(f"{means[STACK]:.3f}", f"AUC of the stack, mean over findings{over}")] if STACK in means else []
    )
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


def _ranking(evaluation: Evaluation, pictured: Pictured) -> Section:
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
            "the same images. They are by patient: images of one patient count as one cluster (Obuchowski's "
            "variance); of one study where patients are not known. An AUC of exactly 1 has no interval. The "
            "best scale was chosen on these very images, so the difference leans against the stack. Means "
            f"are over the findings that every column has.{_over_folds(evaluation, pictured)}",
            "note",
        ),
        drawing(
            figures_scores.auc_figure(evaluation),
            "The same as a figure: dots are single scales, the diamond is the stack, lines are "
            f"{'standard deviations over the folds' if evaluation.fold_means else 'intervals'}.",
            alt="AUC with its interval, for each finding and scale",
        ),
    ]
    if evaluation.accuracy_means:
        parts += [
            heading("Accuracy"),
            paragraph(
                "Share of images that are right at a probability of one half, without an operating point. "
                "Where a finding is rare, calling nobody positive is nearly always right: read it beside the "
                "last column and the AUC.",
                "lead",
            ),
            tables.accuracy_table(evaluation),
        ]
    if evaluation.unavailable:
        names = ", ".join(evaluation.unavailable)
        parts.insert(1, paragraph(f"No network of this bundle knows {names}: nothing is said of them."))
    return "ranking", "How well findings are told apart", join(parts)


def _over_folds(evaluation: Evaluation, pictured: Pictured) -> str:
    """A note on the figures of a cross-validation, or of several seeds."""
    if not evaluation.fold_means:
        return ""
    counted = (
        "of the test images of all folds of the first seed together, each scored by the networks that did "
        "not train on its patient, at the operating points of its fold"
        if isinstance(pictured.curves, Pooled)
        else "of the first fold and seed"
    )
    shown = (
        "Receptive fields are means over the folds, and each heatmap is of the fold that tested its image."
        if pictured.folds > 1
        else "Heatmaps and receptive fields are of the first fold, whose bundle this is."
    )
    return (
        " Means, the best scale, differences and weights are over all folds and seeds. Counts, curves, "
        f"calibration, decisions and groups are {counted}. Costs of fitting are means over all fits, memory "
        f"the largest. {shown}"
    )


def _scales(evaluation: Evaluation, run: RunFacts) -> Section:
    over = ", mean and standard deviation over the folds" if evaluation.fold_means else ""
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
                    f"Weights of the stack in percent{over}. The best single scale by AUC: {wins} findings.",
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


def _claims(evaluation: Evaluation) -> Section:
    over = "means over the folds" if evaluation.fold_means else "one set of test images"
    return (
        "claims",
        "What the papers found, and what these figures say",
        join(
            [
                paragraph(
                    f"Each claim is compared with {over}, without a test of significance: on few images, or "
                    "on other data than the paper's, a claim may fail or hold by chance.",
                    "lead",
                ),
                claims_table(claims_of(evaluation)),
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
                    figures_scores.roc_figure(pictured.curves, evaluation.findings),
                    "ROC. The figure in each corner is the stack's AUC, the dot its operating point.",
                    alt="ROC curves of each finding",
                ),
                drawing(
                    figures_scores.precision_recall_figure(pictured.curves, evaluation.findings),
                    "Precision against recall. AP is the stack's average precision; the dotted line is what "
                    "guessing would reach, the finding's share.",
                    alt="Precision-recall curves of each finding",
                ),
            ]
        ),
    )


def _decisions(evaluation: Evaluation, pictured: Pictured) -> Section:
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
                    figures_decisions.calibration_figure(evaluation),
                    "Reliability: in ten bins of the probability, how often the finding was there, with its "
                    "95 % interval (Clopper and Pearson). A dot's area grows with the images in it; on the "
                    "dotted line probabilities are frequencies.",
                    alt="Reliability diagrams of each finding",
                ),
                drawing(
                    figures_decisions.decision_figure(evaluation.findings),
                    "Decision curves: the net benefit of flagging at each threshold, as a share of what a "
                    "perfect model gains, with its 95 % band. At 0.2, four false alarms weigh as much as one "
                    "hit. Dashed: flag all images; at 0: flag none; dotted: the operating point.",
                    alt="Decision curves of each finding",
                ),
            ]
        ),
    )


def _cams(pictured: Pictured) -> Section:
    scores = pictured.scores
    columns = [*map(str, scores.sizes), STACK]
    figure = figures_data.cams_figure(pictured.examples, columns, scores.contract)
    outlined = any(example.location is not None for example in pictured.examples)
    outline_note = " The outline in the first column is where the finding really is." if outlined else ""
    return (
        "cams",
        "Where each scale looks",
        picture(
            figure,
            "Grad-CAM of single scales, each as if it served alone, and of the ensemble. The examples are "
            "those of middling probability among the images that were found: neither the best nor the worst. "
            f"Colours are the service's own, on the scale of the finding.{outline_note}",
            alt="Radiographs with the heatmap of each scale and of the ensemble",
        ),
    )


def _fields(evaluation: Evaluation, pictured: Pictured) -> Section:
    fields = {size: field.field_SS for size, field in pictured.fields.items()}
    results = {size: field.result for size, field in pictured.fields.items()}
    counts = sorted({result.images for result in results.values()})
    folds = ", of all folds together" if pictured.folds > 1 else ""
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
                    f"Effective receptive fields, averaged over {used} images{folds}. Full circle: half of "
                    "the field's energy; dashed: 95 %. Each picture against its own largest value.",
                    alt="Effective receptive field at each scale",
                ),
            ]
        ),
    )


def _groups(evaluation: Evaluation) -> Section:
    note = (
        "Findings with fewer than five images of either kind in a group are not evaluated there, so means of "
        "groups may be over different findings."
    )
    parts = [tables.groups_table(evaluation)]
    if any(group.mean is not None for group in evaluation.groups):
        figure = figures_scores.groups_figure(evaluation)
        parts.append(drawing(figure, note, alt="AUC of the stack in each group"))
    else:
        parts.append(paragraph(note, "note"))
    return "groups", "By view, sex and age", join(parts)


def _film_check(result: FilmCheckResult) -> Section:
    everybody = result.groups[0]
    summary = (
        f"The film check looked at {result.images:,} test images as the service would: "
        f"{everybody.refused.value:.1%} would be refused, {everybody.warned.value:.1%} answered with a "
        "warning. "
        f"Its reference of the training images was measured on {result.measured_on}. Groups of fewer than "
        f"{MIN_IMAGES} images are left out; intervals are Clopper and Pearson's at 95 %."
    )
    parts = [
        paragraph(summary),
        drawing(
            figures_decisions.refusals_figure(result),
            "Share of each group that is refused, and that is answered with a warning, with its interval; "
            "dotted: of all images. A diamond in red: a group of at least "
            f"{MIN_JUDGED} images that is refused more than {UNEVEN:g} times as often as the others.",
            alt="Shares of each group that the film check refuses, and warns of",
        ),
        *(paragraph(words, "limits") for words in map(uneven_words, result.groups) if words),
        tables.film_check_table(result),
    ]
    if result.reasons:
        parts.append(tables.reasons_table(result))
    return "film-check", "Whom the film check refuses", join(parts)


def _outputs(pictured: Pictured) -> Section:
    return (
        "outputs",
        "Labels and answers of some images",
        picture(
            figures_pictures.outputs_figure(pictured.outputs),
            "Test images drawn at random among those with a label, not chosen for being right: the findings "
            "of their labels, and those that the stack calls, with their probabilities.",
            alt="Radiographs with their labels and the answers of the stack",
        ),
    )


def _data(pictured: Pictured) -> Section:
    parts: list[Markup] = []
    if len(pictured.levels) > 1:
        parts.append(
            picture(
                figures_pictures.levels_figure(pictured.levels),
                "One test image at each size that the networks see, shown at one scale.",
                alt="A radiograph at each size",
            )
        )
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
    engines = {footprint.engine for footprint in evaluation.footprints.values()}
    served = f"Served by {' and '.join(sorted(engines))}, each member alone in a process. " if engines else ""
    fitted = (
        "The peak learning rate is that of the whole batch of a step."
        if evaluation.fits
        else "The cost of fitting is not known here."
    )
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
