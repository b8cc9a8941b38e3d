"""Delivery: the first trial's bundle, with its figures, model card and report, into the folder `--out`.

Nothing that another run or another program wrote into that folder is overwritten or deleted.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from cxrserve.bundle.contract import CONTRACT_FILE, Contract, Metrics, read_contract, write_contract
from cxrserve.bundle.triage_calibration import TriageCalibration
from cxrserve.files import write_atomically
from cxrserve.findings import NAMES
from training.cache import PyramidCache
from training.datasets.patients import FILE as PATIENTS
from training.recipes import DatasetData, PhantomData
from training.report.averages import over_folds
from training.report.evaluate_bundle import HTML, JSON, ReportContents, write_report
from training.report.heatmaps import open_predictor, pointing
from training.stamp import Stamp, file_sha256, plain, read_stamp, sha256_of, write_stamp
from training.steps.evaluate import Evaluate, by_unit, test_name
from training.steps.export import Export
from training.steps.facts import run_facts
from training.steps.model_card import CARD, write_card
from training.steps.prepare import open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.stack import Stack
from training.steps.step import StepError, result_of, stamp_of
from training.steps.triage import calibrated, patients
from training.triage.calibrate import OF_PHANTOMS

SPLIT_BY_ROW: Final = (
    "The conformal margins were measured on patients whose other radiographs trained the networks (a split "
    "by row): epsilon is not guaranteed."
)


def why_not_delivered(run: Run) -> str | None:
    """The reason that the bundle must be written into its folder; None if it is there."""
    stamp = read_stamp(_stamp_path(run))
    if stamp is None:
        return "not done yet"
    if stamp.inputs != plain(_inputs(run)):
        return "changed: figures or bundle"
    return None if _intact(run.out, stamp) else f"{run.out} is not as it was written"


def check_out(run: Run) -> None:
    """Refuse a folder `--out` with files that this run would overwrite and did not write.

    Raises:
        StepError: there are such files; names one.
    """
    stamp = read_stamp(_stamp_path(run))
    written = dict(stamp.outputs) if stamp else {}
    members = (f"scale_{size}.onnx" for size in run.recipe.preprocessing.sizes)
    for name in (CONTRACT_FILE, CARD, HTML, JSON, PATIENTS, *members):
        path = run.out / name
        if path.exists() and not run.replace and written.get(name) != file_sha256(path):
            raise StepError(
                f"{path} was not written by this run, and would be overwritten; choose another folder with "
                "--out, or give --replace"
            )


def deliver(run: Run, progress: Progress) -> Contract:
    """Write the bundle: members first, the contract with the figures after them, the report last.

    Raises:
        StepError: an earlier step has not been done, or the folder holds other files.
    """
    if not why_not_delivered(run):
        return read_contract(run.out)[0]
    check_out(run)
    first = run.trials[0]
    test = open_part(run, first.fold, "test")
    contract = _write_bundle(run, first, test)
    _write_report(run, test, progress)
    _finish(run, contract, (HTML, JSON))
    progress.say(f"the bundle of {first.label} is in {run.out}")
    return contract


def deliver_each(run: Run, progress: Progress) -> list[Path]:
    """Write the bundle of every other fold and seed into a folder of its own beside `--out`.

    Each is the bundle of its fold alone, with its own figures and the patients that it learnt from; the
    report over all of them is in `--out`.

    Raises:
        StepError: an earlier step has not been done, or a folder holds other files.
    """
    folders = []
    for trial in run.trials[1:]:
        own = replace(run, out=trial_folder(run, trial))
        folders.append(own.out)
        if not why_not_delivered(own):
            continue
        check_out(own)
        _finish(own, _write_bundle(own, trial, open_part(run, trial.fold, "test")))
        progress.say(f"the bundle of {trial.label} is in {own.out}")
    return folders


def trial_folder(run: Run, trial: Trial) -> Path:
    """The folder of the bundle of `trial`: `--out` for the first, such as OUT-fold-2-seed-1 for others."""
    if trial == run.trials[0]:
        return run.out
    fold = f"-fold-{trial.fold}" if run.all_folds > 1 else ""
    seed = f"-seed-{trial.seed}" if len(run.recipe.seeds) > 1 else ""
    return run.out.with_name(f"{run.out.name}{fold}{seed}")


def _write_bundle(run: Run, trial: Trial, test: PyramidCache) -> Contract:
    """Write networks, contract, patients and card of `trial` into `run.out`."""
    bundle, measured = result_of(Export(), run, trial), result_of(Evaluate(), run, trial)
    contract, _ = read_contract(bundle)
    part = f" of {contract.lineage.part}" if contract.lineage.part else ""
    data = f"{measured.data}{part}, {measured.engine}"
    folds = over_folds([result_of(Evaluate(), run, other).auc for other in run.trials])
    metrics = Metrics(data=data, images=measured.count, auc=measured.auc, folds=folds)
    calibration = _calibrated(run, trial, contract, test)
    contract = contract.model_copy(update={"metrics": metrics, "triage": calibration})
    run.out.mkdir(parents=True, exist_ok=True)
    for name in network_files(contract):
        copy = run.out / f"{name}.part"
        shutil.copyfile(bundle / name, copy)
        copy.replace(run.out / name)
    _write_contract(run.out, contract)
    if (bundle / PATIENTS).exists():
        write_atomically(run.out / PATIENTS, (bundle / PATIENTS).read_bytes())
    write_card(run.out, contract, _pointing(run.out, test))
    return contract


def _finish(run: Run, contract: Contract, more: tuple[str, ...] = ()) -> None:
    """Write the delivery's stamp, and remove what an earlier delivery left."""
    names = [CONTRACT_FILE, CARD, *more, *network_files(contract)]
    names += [PATIENTS] if (run.out / PATIENTS).exists() else []
    outputs = {name: file_sha256(run.out / name) for name in names}
    earlier = read_stamp(_stamp_path(run))
    write_stamp(_stamp_path(run), Stamp(step="deliver", inputs=plain(_inputs(run)), outputs=outputs))
    if earlier is not None:
        _remove_old_members(run.out, earlier, outputs)


def network_files(contract: Contract) -> list[str]:
    """Files of all networks of a bundle: members, their variants, the film check."""
    variants = [variant.file for member in contract.members for variant in member.variants]
    check = [contract.film_check.file] if contract.film_check is not None else []
    return [*(member.file for member in contract.members), *variants, *check]


def _stamp_path(run: Run) -> Path:
    """One stamp for each folder that something was delivered to."""
    return run.work / "delivered" / f"{sha256_of(str(run.out.resolve()))[:12]}.json"


def _inputs(run: Run) -> dict[str, object]:
    evaluated = {trial.name: stamp_of(Evaluate(), run, trial).sha256 for trial in run.trials}
    return {"out": str(run.out.resolve()), "report": run.report, "evaluated": evaluated}


def _intact(folder: Path, stamp: Stamp) -> bool:
    return all(
        (folder / name).exists() and file_sha256(folder / name) == sha for name, sha in stamp.outputs.items()
    )


def _remove_old_members(folder: Path, earlier: Stamp, outputs: dict[str, str]) -> None:
    """Remove the members of this run's earlier delivery, if nobody has changed them since."""
    for name, sha in earlier.outputs.items():
        path = folder / name
        if name not in outputs and path.exists() and file_sha256(path) == sha:
            path.unlink()


def _calibrated(run: Run, trial: Trial, contract: Contract, test: PyramidCache) -> TriageCalibration | None:
    """The bundle's early decisions with margins and checks, from the test images."""
    scores = result_of(Evaluate(), run, trial).scores(contract, "")
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


def _write_report(run: Run, test: PyramidCache, progress: Progress) -> None:
    """`report.html` and `report.json` beside the bundle; over all trials where there are several."""
    progress.say("writing the report")
    delivered, sha256 = read_contract(run.out)
    measured = {trial: result_of(Evaluate(), run, trial) for trial in run.trials}
    scores = {
        trial: result.scores(read_contract(result_of(Export(), run, trial))[0], sha256)
        for trial, result in measured.items()
    }
    units = {trial: by_unit(run, trial_scores) for trial, trial_scores in scores.items()}
    folds = list(units.values()) if len(units) > 1 else []
    pooled = [unit for trial, unit in units.items() if trial.seed == run.trials[0].seed]
    full = run.report == "full"
    contents = ReportContents(
        cam_findings=_cam_findings(delivered),
        field_images=run.field_images if full else 0,
        footprints=full,
        by_study=run.recipe.data.sample_unit.kind == "studies",
    )
    facts = run_facts(run, test, {trial: result.auc for trial, result in measured.items()})
    first = replace(scores[run.trials[0]], contract=delivered)
    others = [
        (result_of(Export(), run, trial), open_part(run, trial.fold, "test"))
        for trial in run.trials[1:]
        if trial.seed == run.trials[0].seed
    ]
    # Heatmaps are of images, whatever is counted.
    per_image = [trial_scores for trial, trial_scores in scores.items() if trial.seed == run.trials[0].seed]
    write_report(
        run.out,
        test,
        first,
        run.out,
        folds=folds,
        pooled=pooled,
        others=[(*source, fold) for source, fold in zip(others, per_image[1:], strict=True)],
        run=facts,
        contents=contents,
    )
    _add_run_facts(run)


def _cam_findings(contract: Contract) -> tuple[str, ...]:
    """Findings whose Grad-CAM is shown: the papers' two, or one of those that the bundle knows."""
    known = [name for name in NAMES if name not in contract.unavailable]
    return tuple(name for name in ReportContents().cam_findings if name in known) or tuple(known[:1])


def _add_run_facts(run: Run) -> None:
    """Add the summary of each stack's fit, and the lineage, to the report's JSON."""
    path = run.out / JSON
    report = json.loads(path.read_text(encoding="utf-8"))
    report["stack_fits"] = {trial.name: dict(stamp_of(Stack(), run, trial).summary) for trial in run.trials}
    report["lineage"] = read_contract(run.out)[0].lineage.model_dump(mode="json")
    write_atomically(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _write_contract(folder: Path, contract: Contract) -> None:
    """As `write_contract`, at once: who opens the bundle sees the old contract or the new one."""
    temporary = folder / ".contract.part"
    temporary.mkdir(exist_ok=True)
    write_contract(temporary, contract).replace(folder / CONTRACT_FILE)
    temporary.rmdir()


def _pointing(bundle: Path, test: PyramidCache) -> dict[str, float]:
    """Share of heatmaps that point at their finding, where the data says where findings are."""
    return pointing(open_predictor(bundle), test) if test.locations_NFGG is not None else {}
