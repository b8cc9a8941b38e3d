"""The step `export`: ONNX of each network, compared with torch, and the contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cxrserve import __version__
from cxrserve.ensemble.bundle import Contract, Lineage, Member, OperatingPoint, write_contract
from cxrserve.findings import NAMES
from training.bf16 import MOST, gated
from training.evaluate import HEATMAP_PERCENTILE, open_predictor
from training.export import export_member
from training.recipes import Recipe
from training.samples import Samples
from training.steps.calibrate import read_operating_points, validation_name
from training.steps.early import chosen, early_decisions
from training.steps.fit import Job, fit_stamps, folder_of
from training.steps.lineage import lineage
from training.steps.networks import fitted_network
from training.steps.prepare import StepError, open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.stack import Floats, read_stack
from training.steps.stamp import Stamp, file_sha256, key_of, read_stamp, replaced, why_not_done, write_stamp

STAMP, BUNDLE = "stamp.json", "bundle"


def export_inputs(run: Run, trial: Trial) -> dict[str, object]:
    """What the step depends on."""
    recipe = run.recipe
    return {
        "networks": {str(size): stamp.sha256 for size, stamp in fit_stamps(run, trial).items()},
        "stack": read_stack(run, trial)[1].sha256,
        "calibration": read_operating_points(run, trial)[1].sha256,
        "words": [recipe.name, recipe.intended_use, recipe.limits],
        "code": __version__,
    }


def why_not_exported(run: Run, trial: Trial) -> str | None:
    """Why the step is to be done; None if it is."""
    folder = run.folder(trial, "export")
    return why_not_done(folder / STAMP, folder, *key_of(export_inputs(run, trial)))


def export(run: Run, progress: Progress) -> None:
    """Write the bundles that are not written yet.

    Raises:
        StepError: an earlier step has not been done.
        ValueError: an engine answers otherwise than torch.
    """
    for trial in run.trials:
        if why_not_exported(run, trial):
            _export_one(run, trial, progress)


def bundle_of(run: Run, trial: Trial) -> tuple[Path, Stamp]:
    """The bundle's folder that the step left.

    Raises:
        StepError: it has not been done.
    """
    folder = run.folder(trial, "export")
    stamp = read_stamp(folder / STAMP)
    if stamp is None or why_not_exported(run, trial):
        raise StepError(f"{trial.name}: no bundle of these networks; run `export` first")
    return folder / BUNDLE, stamp


def _export_one(run: Run, trial: Trial, progress: Progress) -> None:
    recipe, folder = run.recipe, run.folder(trial, "export")
    key, inputs = key_of(export_inputs(run, trial))
    fits = fit_stamps(run, trial)
    found, stack_stamp = read_stack(run, trial)
    points, calibrate_stamp = read_operating_points(run, trial)
    steps = {f"fit {size}": stamp for size, stamp in fits.items()}
    steps |= {"stack": stack_stamp, "calibrate": calibrate_stamp}
    (folder / STAMP).unlink(missing_ok=True)
    with replaced(folder / BUNDLE) as part:
        part.mkdir()
        members: list[Member] = []
        tolerance: dict[str, float] = {}
        sizes, images = recipe.preprocessing.sizes, open_part(run, trial.fold, "validate")
        for size in progress.track(sizes, f"export, {trial.name}", len(sizes)):
            (weights,) = fits[size].outputs
            network = fitted_network(recipe, size, folder_of(run, Job(trial=trial, size=size)) / weights)
            member, differences = export_member(network, size, part)
            model = (part / member.file).read_bytes()
            members.append(_gated(knowing(member, found.known), model, images, validation_name(run)))
            for what, difference in differences.items():
                tolerance[what] = max(tolerance.get(what, 0.0), round(difference, 8))
        contract = make_contract(
            recipe, lineage(run, trial, steps), members, tolerance, found.weights_FS, points, found.known
        )
        write_contract(part, contract)
        served, scale = _as_served(run, trial, part, progress)
        early = early_decisions(served, contract, f"{len(served)} {validation_name(run)}")
        if early is None and len(members) > 1:
            progress.say(f"{trial.name}: {len(served)} validation images are too few for early decisions")
        write_contract(part, contract.model_copy(update={"heatmap_scale": scale, "triage": early}))
    outputs = {f"{BUNDLE}/{file.name}": file_sha256(file) for file in sorted((folder / BUNDLE).iterdir())}
    write_stamp(folder / STAMP, Stamp(step=f"{trial.name}/export", key=key, inputs=inputs, outputs=outputs))


def _gated(member: Member, model: bytes, images: Samples, name: str) -> Member:
    """`member` with bfloat16 admitted or refused, by at most `MOST` of the validation images."""
    positions = np.unique(np.linspace(0, len(images) - 1, MOST).astype(int))
    level = images.level(member.size)
    films = [level[position] for position in positions]
    return gated(member, model, films, images.labels_NF[positions], f"{len(positions)} {name}")


def knowing(member: Member, known: tuple[str, ...]) -> Member:
    """`member`, saying which findings it was taught where that is not all."""
    return member if known == NAMES else member.model_copy(update={"findings": known})


def make_contract(
    recipe: Recipe,
    said: Lineage,
    members: list[Member],
    tolerance: Mapping[str, float],
    weights_FS: Floats,
    points: Mapping[str, OperatingPoint],
    known: tuple[str, ...],
) -> Contract:
    """The contract before anything is measured; findings that nobody taught are unavailable."""
    stack = tuple(
        tuple(row) if name in known else (0.0,) * len(row)
        for name, row in zip(NAMES, weights_FS.tolist(), strict=True)
    )
    return Contract(
        name=recipe.name,
        version=__version__,
        lineage=said,
        findings=NAMES,
        preprocessing=recipe.preprocessing,
        members=tuple(members),
        stack=stack,
        operating_points={name: points[name] for name in NAMES if name in points},
        unavailable=tuple(name for name in NAMES if name not in known),
        study_rule=recipe.data.unit.over_views,
        heatmap_scale=1.0,
        tolerance=dict(tolerance),
        intended_use=recipe.intended_use,
        limits=recipe.limits,
    )


def _as_served(run: Run, trial: Trial, bundle: Path, progress: Progress) -> tuple[Floats, float]:
    """What the path that serves says of the validation images, or of many of them.

    Returns:
        logits [N, F, S], and what heatmaps of present findings reach.
    """
    images, predictor = open_part(run, trial.fold, "validate"), open_predictor(bundle)
    positions = chosen(len(images))
    logits: list[Floats] = []
    maxima: list[float] = []
    for index in progress.track(positions, f"validation as it is served, {trial.name}", len(positions)):
        present = [int(finding) for finding in np.flatnonzero(images.labels_NF[index] > 0.5)]
        prediction = predictor.predict(images.pyramid(index), explain=present)
        logits.append(prediction.logits_FS)
        maxima.extend(float(map_GG.max()) for map_GG in prediction.maps.values())
    scale = float(np.percentile(maxima, HEATMAP_PERCENTILE)) if maxima else 1.0
    # Networks that have learnt nothing may answer with maps of zeros.
    return np.stack(logits), float(f"{max(scale, float(np.finfo(np.float32).tiny)):.4g}")
