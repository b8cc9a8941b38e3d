"""The step `evaluate`: scores of a trial's bundle on its own test images, through the path that serves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrserve.bundle.contract import Contract
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.findings import NAMES
from training.recipes import PhantomData
from training.report.evaluation import fold_table
from training.report.partial_scores import FILE as PARTIAL
from training.report.scores import Scores, score_bundle
from training.steps.export import Export
from training.steps.prepare import open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.step import Done, result_of, stamp_of

SCORES, FIGURES = "scores.npz", "evaluation.json"
AucTable = dict[str, dict[str, float | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A bundle's figures on its test images.

    Attributes:
        data: the test set, in words, with its count.
        count: images, or studies.
        engine: what computed the scores.
        auc: by finding, and by scale, voting and stack.
        folder: that holds the scores.
    """

    data: str
    count: int
    engine: str
    auc: AucTable
    folder: Path

    def scores(self, contract: Contract, sha256: str) -> Scores:
        """The scores, of images, as those of the bundle with this contract."""
        figures = _read(self.folder)
        with np.load(self.folder / SCORES) as stored:
            return Scores(
                contract=contract,
                sha256=sha256,
                data=self.data,
                engine=self.engine,
                logits_NFS=stored["logits_NFS"],
                labels_NF=stored["labels_NF"],
                study_N=stored["study_N"],
                patient_N=stored.get("patient_N"),
                engine_ms={int(size): ms for size, ms in figures["engine_ms"].items()},
                arithmetic=Arithmetic.model_validate(figures["arithmetic"])
                if "arithmetic" in figures
                else None,
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate:
    """The step; its result is a `Measured`."""

    name: str = "evaluate"
    command: str = "evaluate"

    def inputs(self, run: Run, trial: Trial) -> dict[str, object]:
        """Everything that the step depends on; the bundle's inputs hold the split, and so the test images."""
        return {"bundle": stamp_of(Export(), run, trial).sha256}

    def run(self, run: Run, trial: Trial, folder: Path, progress: Progress) -> Done:
        """Score the test images and compute the AUCs."""
        test = open_part(run, trial.fold, "test")
        scores = score_bundle(
            result_of(Export(), run, trial), test, test_name(run), track=progress.track, partial=folder
        )
        counted = by_unit(run, scores)
        table = fold_table(counted)
        arrays: dict[str, Any] = {
            "logits_NFS": scores.logits_NFS,
            "labels_NF": scores.labels_NF,
            "study_N": scores.study_N,
        }
        if scores.patient_N is not None:
            arrays["patient_N"] = scores.patient_N
        np.savez(folder / SCORES, **arrays)
        (folder / PARTIAL).unlink(missing_ok=True)
        figures = {
            "data": test_name(run),
            "count": len(counted.labels_NF),
            "engine": scores.engine,
            **({"arithmetic": scores.arithmetic.model_dump(mode="json")} if scores.arithmetic else {}),
            "engine_ms": scores.engine_ms,
            "auc": {
                name: {column: _rounded(table[name].get(column)) for column in scores.columns}
                for name in NAMES
            },
        }
        (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        return Done(files=(SCORES, FIGURES))

    def load(self, folder: Path) -> Measured:
        """Read the figures; the scores are read when they are asked for."""
        figures = _read(folder)
        return Measured(
            data=f"{figures['count']} {figures['data']}",
            count=figures["count"],
            engine=figures["engine"],
            auc=figures["auc"],
            folder=folder,
        )


def test_name(run: Run) -> str:
    """The test data in words."""
    if isinstance(run.recipe.data, PhantomData):
        return "held-out phantoms"
    return f"test {run.recipe.data.sample_unit.kind}"


def by_unit(run: Run, scores: Scores) -> Scores:
    """`scores` of the recipe's unit: of images, or of studies."""
    return scores.by_study() if run.recipe.data.sample_unit.kind == "studies" else scores


def _read(folder: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    return figures


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
