"""The step `evaluate`: score every bundle on its own test images through the path that serves, then deliver.

What is delivered is the first trial's bundle; the report says mean and deviation over all of them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from cxrserve.ensemble.bundle import CONTRACT_FILE, Contract, Metrics, read_contract, write_contract
from cxrserve.ensemble.early import Arithmetic, EarlyDecisions
from cxrserve.findings import NAMES
from training.cache import PyramidCache
from training.card import write_card
from training.datasets.manifest_files import write_atomically
from training.evaluate import open_predictor, pointing
from training.recipes import DatasetData, PhantomData
from training.report.evaluate_bundle import HTML, JSON, Wanted, write_report
from training.report.evaluation import fold_table
from training.report.scores import Scores, score_bundle
from training.steps.early import calibrated, patients
from training.steps.export import bundle_of
from training.steps.facts import run_facts
from training.steps.prepare import StepError, open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.stack import read_stack
from training.steps.stamp import (
    Stamp,
    file_sha256,
    key_of,
    read_stamp,
    replaced,
    sha256_of,
    why_not_done,
    write_stamp,
)
from training.triage import OF_PHANTOMS

STAMP, SCORES, EVALUATED = "stamp.json", "scores.npz", "evaluation.json"
DELIVERED = "delivered.json"
SPLIT_BY_ROW = (
    "The conformal margins were measured on patients whose other films trained the networks (a split by "
    "row): epsilon is not guaranteed."
)


def evaluate_inputs(run: Run, trial: Trial) -> dict[str, object]:
    """What the step depends on; the bundle's own inputs hold the split, and with it the test images."""
    return {"bundle": bundle_of(run, trial)[1].sha256}


def why_not_evaluated(run: Run, trial: Trial) -> str | None:
    """Why the step is to be done; None if it is."""
    folder = run.folder(trial, "evaluate")
    return why_not_done(folder / STAMP, folder, *key_of(evaluate_inputs(run, trial)))


def evaluate(run: Run, progress: Progress) -> Contract:
    """Measure the bundles that are not measured yet, and write the delivered one with its figures.

    Raises:
        StepError: an earlier step has not been done.
    """
    for trial in run.trials:
        if why_not_evaluated(run, trial):
            _evaluate_one(run, trial, progress)
    if why_not_delivered(run):
        _deliver(run, progress)
    return read_contract(run.out)[0]


def auc_table(run: Run, trial: Trial) -> dict[str, dict[str, float | None]]:
    """AUC by finding and by scale, voting and stack, on the test images of `trial`.

    Raises:
        StepError: it is not measured.
    """
    path = run.folder(trial, "evaluate") / EVALUATED
    if why_not_evaluated(run, trial):
        raise StepError(f"{trial.name}: not measured; run `evaluate` first")
    table: dict[str, dict[str, float | None]] = json.loads(path.read_text(encoding="utf-8"))["auc"]
    return table


def read_scores(run: Run, trial: Trial, contract: Contract, sha256: str) -> Scores:
    """What the bundle of `trial` said of its test images, under this contract."""
    folder = run.folder(trial, "evaluate")
    said = json.loads((folder / EVALUATED).read_text(encoding="utf-8"))
    with np.load(folder / SCORES) as stored:
        return Scores(
            contract=contract,
            sha256=sha256,
            data=f"{said['count']} {said['data']}",
            engine=said["engine"],
            logits_NFS=stored["logits_NFS"],
            labels_NF=stored["labels_NF"],
            study_N=stored["study_N"],
            engine_ms={int(size): ms for size, ms in said["engine_ms"].items()},
            arithmetic=Arithmetic.model_validate(said["arithmetic"]) if "arithmetic" in said else None,
        )


def test_name(run: Run) -> str:
    """What the test data consists of, in words."""
    if isinstance(run.recipe.data, PhantomData):
        return "held-out phantoms"
    return f"test {run.recipe.data.unit.kind}"


def _evaluate_one(run: Run, trial: Trial, progress: Progress) -> None:
    folder = run.folder(trial, "evaluate")
    key, inputs = key_of(evaluate_inputs(run, trial))
    (folder / STAMP).unlink(missing_ok=True)
    bundle, _ = bundle_of(run, trial)
    test = open_part(run, trial.fold, "test")
    scores = score_bundle(bundle, test, test_name(run), track=progress.track)
    found, counted = fold_table(_judged(run, scores)), _judged(run, scores).labels_NF
    auc = {name: {column: _rounded(found[name].get(column)) for column in scores.columns} for name in NAMES}
    with replaced(folder / SCORES) as part, part.open("wb") as stream:
        np.savez(stream, logits_NFS=scores.logits_NFS, labels_NF=scores.labels_NF, study_N=scores.study_N)
    measured = {
        "data": test_name(run),
        "count": len(counted),
        "engine": scores.engine,
        **({"arithmetic": scores.arithmetic.model_dump(mode="json")} if scores.arithmetic else {}),
        "engine_ms": scores.engine_ms,
        "auc": auc,
    }
    with replaced(folder / EVALUATED) as part:
        part.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    outputs = {name: file_sha256(folder / name) for name in (SCORES, EVALUATED)}
    write_stamp(folder / STAMP, Stamp(step=f"{trial.name}/evaluate", key=key, inputs=inputs, outputs=outputs))


def _judged(run: Run, scores: Scores) -> Scores:
    """`scores` of what the recipe judges: images, or studies."""
    return scores.by_study() if run.recipe.data.unit.kind == "studies" else scores


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def why_not_delivered(run: Run) -> str | None:
    """Why the bundle is to be written into its folder; None if it is there."""
    stamp = read_stamp(run.work / DELIVERED)
    if stamp is None:
        return "not done yet"
    if stamp.key != _delivery_key(run):
        return "changed: figures or bundle"
    intact = all(
        (run.out / name).exists() and file_sha256(run.out / name) == sha
        for name, sha in stamp.outputs.items()
    )
    return None if intact else f"{run.out} is not as it was written"


def _delivery_key(run: Run) -> str:
    evaluated = [read_stamp(run.folder(trial, "evaluate") / STAMP) for trial in run.trials]
    return sha256_of([str(run.out.resolve()), run.report, *(stamp and stamp.sha256 for stamp in evaluated)])


def _deliver(run: Run, progress: Progress) -> None:
    """Copy the first trial's bundle into its folder, members first, the contract with the figures last."""
    first = run.trials[0]
    bundle, _ = bundle_of(run, first)
    test = open_part(run, first.fold, "test")
    measured = json.loads((run.folder(first, "evaluate") / EVALUATED).read_text(encoding="utf-8"))
    contract, _ = read_contract(bundle)
    metrics = Metrics(
        data=f"{measured['count']} {measured['data']}, {measured['engine']}",
        images=measured["count"],
        auc=measured["auc"],
    )
    early = _calibrated(run, first, contract, test)
    contract = contract.model_copy(update={"metrics": metrics, "triage": early})
    run.out.mkdir(parents=True, exist_ok=True)
    for member in contract.members:
        with replaced(run.out / member.file) as part:
            shutil.copyfile(bundle / member.file, part)
    _write_contract(run.out, contract)
    for file in run.out.glob("*.onnx"):
        if file.name not in {member.file for member in contract.members}:
            file.unlink()
    card = write_card(run.out, run.recipe, contract, _pointing(run.out, test))
    _report(run, test, progress)
    names = [CONTRACT_FILE, card.name, HTML, JSON, *(member.file for member in contract.members)]
    outputs = {name: file_sha256(run.out / name) for name in names}
    write_stamp(
        run.work / DELIVERED, Stamp(step="deliver", key=_delivery_key(run), inputs={}, outputs=outputs)
    )
    progress.say(f"the bundle of {first.name} is in {run.out}")


def _calibrated(run: Run, trial: Trial, contract: Contract, test: PyramidCache) -> EarlyDecisions | None:
    """The bundle's early decisions with margins, and what they come to, from the test images."""
    scores = read_scores(run, trial, contract, "")
    if contract.triage is None or scores.arithmetic is None:
        return contract.triage
    data = run.recipe.data
    caveats: tuple[str, ...] = (OF_PHANTOMS,) if isinstance(data, PhantomData) else ()
    if isinstance(data, DatasetData) and data.split.kind == "by-row":
        caveats = (SPLIT_BY_ROW,)
    return calibrated(
        contract.triage,
        scores.logits_NFS,
        patients(test),
        contract,
        test_name(run),
        arithmetic=scores.arithmetic,
        caveats=caveats,
    )


def _report(run: Run, test: PyramidCache, progress: Progress) -> None:
    """`report.html` and `report.json` beside the bundle; over all trials where there are several."""
    progress.say("writing the report")
    delivered, sha256 = read_contract(run.out)
    scores = {
        trial: read_scores(run, trial, read_contract(bundle_of(run, trial)[0])[0], sha256)
        for trial in run.trials
    }
    folds = [_judged(run, each) for each in scores.values()] if len(scores) > 1 else []
    first = replace(scores[run.trials[0]], contract=delivered)
    tables = {trial: auc_table(run, trial) for trial in run.trials}
    full, findings = run.report == "full", _pictured(delivered)
    wanted = Wanted(
        cam_findings=findings,
        field_images=Wanted().field_images if full else 0,
        footprints=full,
        by_study=run.recipe.data.unit.kind == "studies",
    )
    facts = run_facts(run, test, tables)
    write_report(run.out, test, first, run.out, folds=folds, run=facts, wanted=wanted)
    _add_stack_facts(run)


def _pictured(contract: Contract) -> tuple[str, ...]:
    """Findings whose Grad-CAM is shown: the papers' two, or one of those that the bundle knows."""
    known = [name for name in NAMES if name not in contract.unavailable]
    return tuple(name for name in Wanted().cam_findings if name in known) or tuple(known[:1])


def _add_stack_facts(run: Run) -> None:
    """What the fit of the stack came to, and the runs' steps, into the report's JSON."""
    path = run.out / JSON
    report = json.loads(path.read_text(encoding="utf-8"))
    report["stack_fits"] = {trial.name: dict(read_stack(run, trial)[1].said) for trial in run.trials}
    report["lineage"] = read_contract(run.out)[0].lineage.model_dump(mode="json")
    write_atomically(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _write_contract(folder: Path, contract: Contract) -> None:
    """As `write_contract`, at once: whoever opens the bundle sees the old contract or the new one."""
    aside = folder / ".contract.part"
    aside.mkdir(exist_ok=True)
    write_contract(aside, contract).replace(folder / CONTRACT_FILE)
    aside.rmdir()


def _pointing(bundle: Path, test: PyramidCache) -> dict[str, float]:
    """How often heatmaps point at their finding, where somebody knows where that lies."""
    return pointing(open_predictor(bundle), test) if test.places_NFGG is not None else {}
