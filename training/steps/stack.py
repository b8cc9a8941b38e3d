"""The step `stack`: logits of the validation images at every size, and the weights that fit them.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cxrserve.ensemble.stack import sigmoid, stacked, voted
from cxrserve.findings import NAMES
from training.cache import PyramidCache
from training.fit.scores import over_views
from training.networks import MapNetwork
from training.recipes.config import UnitConfig
from training.stacking import fit_stack, loss_of
from training.steps.fit import Job, fit_stamps, folder_of
from training.steps.networks import fitted_network
from training.steps.prepare import StepError, data_sha256, open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.stamp import Stamp, file_sha256, key_of, read_stamp, replaced, why_not_done, write_stamp

Floats = NDArray[np.float64]
STAMP, LOGITS, STACK = "stamp.json", "validation_logits.npz", "stack.json"
_PIXELS_A_BATCH = 4 * 2048 * 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Stacked:
    """What the step found.

    Attributes:
        weights_FS: float64 [F, S], rows sum to 1.
        logits_NFS, labels_NF: of the validation images, or studies where those are the unit.
    """

    weights_FS: Floats
    logits_NFS: Floats
    labels_NF: NDArray[np.float32]

    @property
    def known(self) -> tuple[str, ...]:
        """Findings of which the validation labels say anything."""
        return tuple(NAMES[index] for index in np.flatnonzero((~np.isnan(self.labels_NF)).any(0)))


def stack_inputs(run: Run, trial: Trial) -> dict[str, object]:
    """What the stack of `trial` depends on."""
    return {
        "networks": {str(size): stamp.sha256 for size, stamp in fit_stamps(run, trial).items()},
        "data": data_sha256(run, trial.fold),
        "stack": run.recipe.stack,
    }


def why_not_stacked(run: Run, trial: Trial) -> str | None:
    """Why the step is to be done; None if it is."""
    folder = run.folder(trial, "stack")
    return why_not_done(folder / STAMP, folder, *key_of(stack_inputs(run, trial)))


def stack(run: Run, progress: Progress) -> None:
    """Fit the stacks that are not fitted yet.

    Raises:
        StepError: a network is not fitted.
    """
    for trial in run.trials:
        if why_not_stacked(run, trial):
            _stack_one(run, trial, progress)


def read_stack(run: Run, trial: Trial) -> tuple[Stacked, Stamp]:
    """What the step left.

    Raises:
        StepError: it has not been done.
    """
    folder = run.folder(trial, "stack")
    stamp = read_stamp(folder / STAMP)
    if stamp is None or why_not_stacked(run, trial):
        raise StepError(f"{trial.name}: no stack of these networks; run `stack` first")
    with np.load(folder / LOGITS) as stored:
        logits_NFS, labels_NF = stored["logits_NFS"], stored["labels_NF"]
    weights = json.loads((folder / STACK).read_text(encoding="utf-8"))["weights"]
    weights_FS = np.array([list(row.values()) for row in weights.values()], np.float64)
    return Stacked(weights_FS=weights_FS, logits_NFS=logits_NFS, labels_NF=labels_NF), stamp


def _stack_one(run: Run, trial: Trial, progress: Progress) -> None:
    recipe, folder = run.recipe, run.folder(trial, "stack")
    key, inputs = key_of(stack_inputs(run, trial))
    (folder / STAMP).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    images = open_part(run, trial.fold, "validate")
    logits = []
    for size in recipe.preprocessing.sizes:
        job = Job(trial=trial, size=size)
        (weights,) = fit_stamps(run, trial)[size].outputs
        network = fitted_network(recipe, size, folder_of(run, job) / weights)
        batches = progress.track(
            score(network, images, size), f"validation at {size}, {trial.name}", score_steps(images, size)
        )
        logits.append(np.concatenate(list(batches)))
    logits_NFS, labels_NF = of_units(np.stack(logits, -1), images, recipe.data.unit)
    fit = fit_stack(logits_NFS, labels_NF, recipe.stack)
    said = compared(logits_NFS, labels_NF, fit.weights_FS, recipe.preprocessing.sizes)
    said |= {"converged": fit.converged, "last_move": round(fit.last_move, 6), "epochs": recipe.stack.epochs}
    if not fit.converged:
        progress.say(
            f"{trial.name}: the stack has not converged: a weight still moved by {fit.last_move:.3f} in "
            "its last tenth; set stack.epochs higher"
        )
    with replaced(folder / LOGITS) as part, part.open("wb") as stream:
        np.savez(stream, logits_NFS=logits_NFS, labels_NF=labels_NF)
    weights_by_name = {
        name: dict(zip(map(str, recipe.preprocessing.sizes), row, strict=True))
        for name, row in zip(NAMES, fit.weights_FS.tolist(), strict=True)
    }
    with replaced(folder / STACK) as part:
        part.write_text(json.dumps({**said, "weights": weights_by_name}, indent=1) + "\n", encoding="utf-8")
    outputs = {name: file_sha256(folder / name) for name in (LOGITS, STACK)}
    write_stamp(
        folder / STAMP,
        Stamp(step=f"{trial.name}/stack", key=key, inputs=inputs, outputs=outputs, said=said),
    )


def compared(
    logits_NFS: Floats, labels_NF: NDArray[np.float32], weights_FS: Floats, sizes: tuple[int, ...]
) -> dict[str, object]:
    """Cross-entropy on the validation images, mean over known labels: of the stack, voting and each scale."""
    losses = {
        str(size): loss_of(sigmoid(logits_NFS[..., index]), labels_NF) for index, size in enumerate(sizes)
    }
    best = min(losses, key=lambda size: losses[size])
    losses |= {
        "voting": loss_of(voted(logits_NFS), labels_NF),
        "stack": loss_of(stacked(logits_NFS, weights_FS), labels_NF),
    }
    return {"loss": {name: round(loss, 6) for name, loss in losses.items()}, "best_scale": best}


@torch.inference_mode()
def score(network: MapNetwork, images: PyramidCache, size: int) -> Iterator[Floats]:
    """Logits float64 [B, F] of one batch after the other, in single precision."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.eval().to(device)
    level_NSS, batch = images.level(size), batch_of(size)
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.ascontiguousarray(level_NSS[start : start + batch]))[:, None]
        logits: Floats = network(pixels.to(device)).logits.double().cpu().numpy()
        yield logits


def score_steps(images: PyramidCache, size: int) -> int:
    return -(-len(images) // batch_of(size))


def batch_of(size: int) -> int:
    """Images scored at once: as many pixels whatever the size."""
    return max(1, min(64, _PIXELS_A_BATCH // size**2))


def of_units(
    logits_NFS: Floats, images: PyramidCache, unit: UnitConfig
) -> tuple[Floats, NDArray[np.float32]]:
    """Logits and labels of the units that are judged: images as they are, or studies by their rule."""
    if unit.kind == "images":
        return logits_NFS, images.labels_NF
    _, first, study_N = np.unique(images.study_N, return_index=True, return_inverse=True)
    owner = torch.from_numpy(study_N)
    scales = [
        over_views(torch.from_numpy(logits_NFS[..., scale].copy()), owner, len(first), unit).numpy()
        for scale in range(logits_NFS.shape[-1])
    ]
    return np.stack(scales, -1), images.labels_NF[first]
