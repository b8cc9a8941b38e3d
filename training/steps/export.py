"""The step `export`: the bundle: ONNX of each network, compared with torch, and the contract."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve import __version__
from cxrserve.bundle.contract import Contract, Lineage, Member, write_contract
from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.findings import NAMES
from training.calibration.images import calibrated_on, of_phantoms, phantoms_in_words
from training.calibration.outputs import outputs_of
from training.datasets.samples import Samples
from training.networks.export import export_member
from training.precision.bf16 import MAX_GATE_IMAGES, gated
from training.recipes import Recipe
from training.report.heatmaps import HEATMAP_PERCENTILE, open_predictor
from training.stamp import Stamp, remove
from training.steps.calibrate import Calibrate, validation_name
from training.steps.film_check import FilmCheck
from training.steps.fit import Fit, fit_stamps
from training.steps.lineage import make_lineage
from training.steps.networks import fitted_network
from training.steps.patient_hashes import write_hashes
from training.steps.prepare import open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.stack import Floats, Stack
from training.steps.step import Done, label, result_of, stamp_of
from training.steps.triage import chosen, early_decisions
from training.steps.variants import with_variants

BUNDLE: Final = "bundle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """The step; its result is the bundle's folder."""

    name: str = "export"
    command: str = "export"

    def inputs(self, run: Run, trial: Trial) -> dict[str, object]:
        """Everything that the step depends on."""
        recipe = run.recipe
        return {
            "networks": {str(size): stamp.sha256 for size, stamp in fit_stamps(run, trial).items()},
            "stack": stamp_of(Stack(), run, trial).sha256,
            "calibration": stamp_of(Calibrate(), run, trial).sha256,
            "film check": stamp_of(FilmCheck(), run, trial).sha256,
            "texts": [recipe.name, recipe.intended_use, recipe.limits],
            "code": __version__,
            **({"variants": True} if run.variants else {}),
            **({"calibrated on": recipe.calibration} if recipe.calibration.phantoms else {}),
        }

    def run(self, run: Run, trial: Trial, folder: Path, progress: Progress) -> Done:
        """Write the bundle.

        Raises:
            ValueError: an engine's answers differ from torch's.
        """
        recipe, bundle = run.recipe, folder / BUNDLE
        remove(bundle)
        bundle.mkdir()
        stack = result_of(Stack(), run, trial)
        members: list[Member] = []
        models: dict[int, bytes] = {}
        tolerance: dict[str, float] = {}
        sizes, images = recipe.preprocessing.sizes, open_part(run, trial.fold, "validate")
        for size in progress.track(sizes, label(self, trial), len(sizes)):
            network = fitted_network(recipe, size, result_of(Fit(size=size), run, trial))
            member, differences = export_member(network, size, bundle)
            model = (bundle / member.file).read_bytes()
            models[size] = model
            by_finding = stack.calibration(len(members), f"{len(stack.labels_NF)} {validation_name(run)}")
            member = knowing(member, stack.known).model_copy(update={"calibration": by_finding})
            members.append(_gated(member, model, images, validation_name(run)))
            for output, difference in differences.items():
                tolerance[output] = max(tolerance.get(output, 0.0), round(difference, 8))
        if run.variants:
            members = with_variants(run, trial, members, models, stack.weights_FS, bundle, progress)
        contract = make_contract(
            recipe,
            make_lineage(run, trial, _stamps(run, trial)),
            members,
            tolerance,
            stack.weights_FS,
            result_of(Calibrate(), run, trial),
            stack.known,
        )
        check = result_of(FilmCheck(), run, trial)
        if check is not None:
            section, found_in = check
            shutil.copyfile(found_in / section.file, bundle / section.file)
            contract = contract.model_copy(update={"film_check": section})
        write_contract(bundle, contract)
        served_NFS, scale = _as_served(run, trial, bundle, progress)
        calibration = early_decisions(served_NFS, contract, f"{len(served_NFS)} {validation_name(run)}")
        if calibration is None and len(members) > 1:
            progress.say(
                f"{label(self, trial)}: {len(served_NFS)} validation images are too few for early decisions"
            )
        contract = contract.model_copy(update={"heatmap_scale": scale, "triage": calibration})
        write_contract(bundle, contract)
        if recipe.calibration.phantoms:
            write_contract(bundle, calibrated_on_phantoms(recipe, bundle, contract, progress))
        write_hashes(run, trial, bundle)
        return Done(files=tuple(f"{BUNDLE}/{file.name}" for file in sorted(bundle.iterdir())))

    def load(self, folder: Path) -> Path:
        """The bundle's folder."""
        return folder / BUNDLE


def _stamps(run: Run, trial: Trial) -> dict[str, Stamp]:
    fits = {f"fit {size}": stamp for size, stamp in fit_stamps(run, trial).items()}
    return {
        **fits,
        "stack": stamp_of(Stack(), run, trial),
        "calibrate": stamp_of(Calibrate(), run, trial),
        "film check": stamp_of(FilmCheck(), run, trial),
    }


def _gated(member: Member, model: bytes, images: Samples, name: str) -> Member:
    """`member` with bfloat16 admitted or refused, by at most `MAX_GATE_IMAGES` of the validation images."""
    positions = np.unique(np.linspace(0, len(images) - 1, MAX_GATE_IMAGES).astype(int))
    level = images.level(member.size)
    chosen_images = [level[position] for position in positions]
    return gated(member, model, chosen_images, images.labels_NF[positions], f"{len(positions)} {name}")


def knowing(member: Member, known: tuple[str, ...]) -> Member:
    """`member` with the findings that it was trained on, if those are not all."""
    return member if known == NAMES else member.model_copy(update={"findings": known})


def make_contract(
    recipe: Recipe,
    lineage: Lineage,
    members: list[Member],
    tolerance: Mapping[str, float],
    weights_FS: Floats,
    points: Mapping[str, OperatingPoint],
    known: tuple[str, ...],
) -> Contract:
    """The contract before anything is measured; findings without training labels are unavailable."""
    stack = tuple(
        tuple(row) if name in known else (0.0,) * len(row)
        for name, row in zip(NAMES, weights_FS.tolist(), strict=True)
    )
    return Contract(
        name=recipe.name,
        version=__version__,
        lineage=lineage,
        findings=NAMES,
        preprocessing=recipe.preprocessing,
        members=tuple(members),
        stack=stack,
        operating_points={name: points[name] for name in NAMES if name in points},
        unavailable=tuple(name for name in NAMES if name not in known),
        study_rule=recipe.data.sample_unit.over_views,
        heatmap_scale=1.0,
        tolerance=dict(tolerance),
        intended_use=recipe.intended_use,
        limits=recipe.limits,
    )


def calibrated_on_phantoms(recipe: Recipe, bundle: Path, contract: Contract, progress: Progress) -> Contract:
    """`contract` calibrated on phantoms drawn for it, through the path that serves.

    Decisions stay as they are, and with them what early decisions were fitted to.
    """
    wanted, predictor = recipe.calibration, open_predictor(bundle)
    drawn = of_phantoms(wanted.phantoms, wanted.first_seed, contract)[1]
    images = [
        outputs_of(predictor, levels, labels_F, study)
        for levels, labels_F, study in progress.track(
            drawn, "draw and score for calibration", wanted.phantoms
        )
    ]
    calibrated, table = calibrated_on(bundle, predictor, images, phantoms_in_words(wanted.first_seed), "keep")
    before, after = (float(np.mean([getattr(gain, when) for gain in table])) for when in ("before", "after"))
    progress.say(f"calibrated on {len(images)} phantoms: mean log loss {before:.4f} → {after:.4f}")
    return calibrated


def _as_served(run: Run, trial: Trial, bundle: Path, progress: Progress) -> tuple[Floats, float]:
    """Score the validation images, or many of them, through the path that serves.

    Returns:
        logits [N, F, S], and the value of a heatmap that is shown at full strength.
    """
    images, predictor = open_part(run, trial.fold, "validate"), open_predictor(bundle)
    positions = chosen(len(images))
    logits: list[Floats] = []
    maxima: list[float] = []
    for index in progress.track(positions, f"validation as it is served, {trial.label}", len(positions)):
        present = [int(finding) for finding in np.flatnonzero(images.labels_NF[index] > 0.5)]
        prediction = predictor.predict(images.pyramid(index), explain=present)
        logits.append(prediction.logits_FS)
        maxima.extend(float(map_GG.max()) for map_GG in prediction.maps.values())
    scale = float(np.percentile(maxima, HEATMAP_PERCENTILE)) if maxima else 1.0
    # Networks that have learnt nothing may answer with maps of zeros.
    return np.stack(logits), float(f"{max(scale, float(np.finfo(np.float32).tiny)):.4g}")
