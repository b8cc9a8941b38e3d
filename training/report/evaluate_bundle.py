"""Evaluation of a bundle on a test set: `report.html` and `report.json`."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import load_bundle
from cxrserve.findings import NAMES
from training.datasets.labels import CoOccurrence, co_occurrence
from training.datasets.samples import Pyramids, Samples
from training.report.cams import Example, choose_examples, explain
from training.report.claims import claims_of
from training.report.comparison import comparison_page
from training.report.evaluation import Evaluation, evaluate_scores
from training.report.facts import RunFacts
from training.report.fields import MeasuredField, measure_field
from training.report.film_check_groups import measure_film_check
from training.report.footprint import footprint
from training.report.outputs import Output, choose_outputs, levels_of
from training.report.own_folds import read_own_folds, repeats_of
from training.report.pictured import Pictured
from training.report.pooled import Pooled
from training.report.scores import Scores, Track, score_bundle, untracked
from training.report.sections import report_page

HTML: Final = "report.html"
JSON: Final = "report.json"
# Side of the radiographs in the figures, at least.
SHOWN: Final = 512
# A bundle, its test images and its scores of them.
Fold = tuple[Path, Samples, Scores]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportContents:
    """Contents of a report.

    Attributes:
        cam_findings: whose Grad-CAM is shown, `cam_examples` radiographs each; without any, the report shows
            no radiograph at all.
        field_images: images that the effective receptive field is averaged over; 0 leaves it out.
        footprints: measure memory and time of each member in a process of its own.
        by_study: judge studies, not images.
    """

    cam_findings: tuple[str, ...] = ("Cardiomegaly", "Pneumothorax")
    cam_examples: int = 2
    field_images: int = 16
    footprints: bool = True
    by_study: bool = False


def evaluate_bundle(
    bundle: Path,
    samples: Pyramids,
    out: Path,
    *,
    data: str,
    folds: Sequence[Scores] = (),
    run: RunFacts | None = None,
    contents: ReportContents | None = None,
    track: Track = untracked,
) -> Evaluation:
    """Score `bundle` on `samples` and write `report.html` and `report.json` into `out`.

    Args:
        data: the test set, in words.
        folds: scores of every fold's bundle on that fold's test images, for mean ± standard deviation.
        run: what the run that made the bundle knows of itself.

    Raises:
        BundleError, EngineError: the bundle cannot be served here.
        ValueError: there are no images.
    """
    scores = score_bundle(bundle, samples, data, track=track)
    return write_report(bundle, samples, scores, out, folds=folds, run=run, contents=contents)


def write_report(
    bundle: Path,
    samples: Samples | None,
    scores: Scores,
    out: Path,
    *,
    folds: Sequence[Scores] = (),
    pooled: Sequence[Scores] = (),
    others: Sequence[Fold] = (),
    run: RunFacts | None = None,
    contents: ReportContents | None = None,
) -> Evaluation:
    """Write the report of `scores`; without `samples` there are no Grad-CAM and no effective fields.

    Args:
        folds: of every fold and seed.
        pooled: of the folds of one seed, whose test images are different ones.
        others: every other fold of the same seed, for receptive fields and Grad-CAM.
    """
    run, contents = run or RunFacts(), contents or ReportContents()
    examples: list[Example] = []
    fields: dict[int, MeasuredField] = {}
    outputs: list[Output] = []
    levels: dict[int, NDArray[np.uint8]] = {}
    if samples is not None:
        sources = [(bundle, samples, scores), *others]
        examples = _examples(sources, contents)
        fields = _fields(sources, contents.field_images) if contents.field_images else {}
        if contents.cam_findings:
            outputs, levels = choose_outputs(scores, samples), levels_of(scores, samples)
    unit_scores = scores.by_study() if contents.by_study else scores
    together = Pooled(folds=pooled) if len(pooled) > 1 else None
    people = run.pooled_people if together else run.people
    evaluation = dataclasses.replace(
        evaluate_scores(unit_scores, folds, None if contents.by_study else people, together),
        fields={str(size): field.result for size, field in fields.items()},
        footprints={str(size): footprint(bundle, size) for size in scores.sizes}
        if contents.footprints
        else {},
        fits=tuple(run.fits),
        image_sizes=_counted(run.shapes),
        film_check=measure_film_check(bundle, samples, run.people) if samples is not None else None,
    )
    matrix = _co_occurrence(scores, run)
    evaluation = dataclasses.replace(evaluation, co_occurrence=_rows(matrix) if matrix else {})
    pictured = Pictured(
        scores=unit_scores,
        curves=together or unit_scores,
        examples=examples,
        fields=fields,
        co_occurrence=matrix,
        run=run,
        folds=1 + len(others),
        outputs=outputs,
        levels=levels,
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / HTML).write_text(report_page(evaluation, pictured), encoding="utf-8")
    claims = [dataclasses.asdict(claim) for claim in claims_of(evaluation)]
    _write_json(out / JSON, {**evaluation.as_json(), "claims": claims})
    return evaluation


def write_comparison(
    evaluations: Sequence[Evaluation],
    out: Path,
    run: RunFacts | None = None,
    bundles: Sequence[Path] = (),
) -> None:
    """Write the report of several bundles on the same data into `out`.

    Args:
        bundles: their folders; where all of their own reports are over folds or seeds, these are compared.
    """
    run = run or RunFacts()
    runs = [own for bundle in bundles if (own := read_own_folds(bundle)) is not None]
    if not runs or len(runs) < len(bundles):
        runs = []
    elif not run.repeats:
        run = dataclasses.replace(run, repeats=repeats_of(runs))
    out.mkdir(parents=True, exist_ok=True)
    (out / HTML).write_text(comparison_page(evaluations, run, runs), encoding="utf-8")
    _write_json(out / JSON, {"bundles": [evaluation.as_json() for evaluation in evaluations]})


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _examples(sources: Sequence[Fold], contents: ReportContents) -> list[Example]:
    """The examples of each finding, from one fold after the other."""
    folds = sources[: contents.cam_examples]
    examples: list[Example] = []
    for index, (bundle, samples, scores) in enumerate(folds):
        count = contents.cam_examples // len(folds) + (index < contents.cam_examples % len(folds))
        chosen = choose_examples(scores, contents.cam_findings, count)
        examples += explain(bundle, samples, chosen, SHOWN) if chosen else []
    order = {name: index for index, name in enumerate(contents.cam_findings)}
    return sorted(examples, key=lambda example: order[example.finding])


def _fields(sources: Sequence[Fold], images: int) -> dict[int, MeasuredField]:
    models = [load_bundle(bundle).models for bundle, _, _ in sources[:images]]
    return {
        size: measure_field(
            [
                (model[size], samples.level(size))
                for model, (_, samples, _) in zip(models, sources, strict=False)
            ],
            images,
        )
        for size in models[0]
    }


def _counted(shapes: Sequence[tuple[int, int]]) -> dict[str, int]:
    return dict(Counter(f"{columns}×{rows}" for rows, columns in shapes).most_common())


def _co_occurrence(scores: Scores, run: RunFacts) -> CoOccurrence | None:
    labels_NF = scores.labels_NF if run.source_labels_NF is None else run.source_labels_NF
    return co_occurrence(labels_NF) if len(labels_NF) else None


def _rows(matrix: CoOccurrence) -> dict[str, dict[str, float | None]]:
    return {
        name: {
            other: None if np.isnan(value) else float(value)
            for other, value in zip(NAMES, matrix.matrix_FF[row], strict=True)
        }
        for row, name in enumerate(NAMES)
    }
