"""From a bundle and a test set to `report.html` and `report.json`."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve.ensemble.bundle import load_bundle
from cxrserve.findings import NAMES
from training.footprint import footprint
from training.labels import CoOccurrence, co_occurrence
from training.report.cams import Example, choose_examples, explain
from training.report.comparison import comparison_page
from training.report.evaluation import Evaluation, evaluate_scores
from training.report.facts import RunFacts
from training.report.fields import MeasuredField, measure_field
from training.report.scores import Scores, Track, score_bundle, untracked
from training.report.sections import report_page
from training.samples import Samples

HTML: Final = "report.html"
JSON: Final = "report.json"
# Side of the radiographs in the figures, at least.
SHOWN: Final = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How much a report goes to the trouble of.

    Attributes:
        cam_findings: whose Grad-CAM is shown, `cam_examples` radiographs each.
        field_images: images that the effective receptive field is averaged over; 0 leaves it out.
        footprints: measure memory and time of each member in a process of its own.
        by_study: judge studies, not images.
    """

    cam_findings: tuple[str, ...] = ("Cardiomegaly", "Pneumothorax")
    cam_examples: int = 2
    field_images: int = 16
    footprints: bool = True
    by_study: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictured:
    """What figures need besides the numbers."""

    scores: Scores
    examples: Sequence[Example]
    fields: dict[int, MeasuredField]
    co_occurrence: CoOccurrence | None
    run: RunFacts


def evaluate_bundle(
    bundle: Path,
    samples: Samples,
    out: Path,
    *,
    data: str,
    folds: Sequence[Scores] = (),
    run: RunFacts | None = None,
    wanted: Wanted | None = None,
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
    return write_report(bundle, samples, scores, out, folds=folds, run=run, wanted=wanted)


def write_report(
    bundle: Path,
    samples: Samples | None,
    scores: Scores,
    out: Path,
    *,
    folds: Sequence[Scores] = (),
    run: RunFacts | None = None,
    wanted: Wanted | None = None,
) -> Evaluation:
    """Write the report of `scores`; without `samples` there are no Grad-CAM and no effective fields."""
    run, wanted = run or RunFacts(), wanted or Wanted()
    examples: list[Example] = []
    fields: dict[int, MeasuredField] = {}
    if samples is not None:
        chosen = choose_examples(scores, wanted.cam_findings, wanted.cam_examples)
        examples = explain(bundle, samples, chosen, SHOWN) if chosen else []
        fields = _fields(bundle, samples, wanted.field_images) if wanted.field_images else {}
    judged = scores.by_study() if wanted.by_study else scores
    evaluation = dataclasses.replace(
        evaluate_scores(judged, folds, None if wanted.by_study else run.people),
        fields={str(size): field.result for size, field in fields.items()},
        footprints={str(size): footprint(bundle, size) for size in scores.sizes} if wanted.footprints else {},
        fits=tuple(run.fits),
        image_sizes=_counted(run.shapes),
    )
    together = _together(scores, run)
    evaluation = dataclasses.replace(evaluation, co_occurrence=_rows(together) if together else {})
    pictured = Pictured(scores=judged, examples=examples, fields=fields, co_occurrence=together, run=run)
    out.mkdir(parents=True, exist_ok=True)
    (out / HTML).write_text(report_page(evaluation, pictured), encoding="utf-8")
    _write_json(out / JSON, evaluation.as_json())
    return evaluation


def write_comparison(evaluations: Sequence[Evaluation], out: Path, run: RunFacts | None = None) -> None:
    """Write the report of several bundles on the same data into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / HTML).write_text(comparison_page(evaluations, run or RunFacts()), encoding="utf-8")
    _write_json(out / JSON, {"bundles": [each.as_json() for each in evaluations]})


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _fields(bundle: Path, samples: Samples, images: int) -> dict[int, MeasuredField]:
    return {
        size: measure_field(model, size, samples, images)
        for size, model in load_bundle(bundle).models.items()
    }


def _counted(shapes: Sequence[tuple[int, int]]) -> dict[str, int]:
    return dict(Counter(f"{columns}×{rows}" for rows, columns in shapes).most_common())


def _together(scores: Scores, run: RunFacts) -> CoOccurrence | None:
    labels_NF = scores.labels_NF if run.source_labels_NF is None else run.source_labels_NF
    return co_occurrence(labels_NF) if len(labels_NF) else None


def _rows(found: CoOccurrence) -> dict[str, dict[str, float | None]]:
    return {
        name: {
            other: None if np.isnan(value) else float(value)
            for other, value in zip(NAMES, found.matrix_FF[row], strict=True)
        }
        for row, name in enumerate(NAMES)
    }
