"""The step `stack`: logits of the validation images at every size, and the weights that fit them.

Legend: N images, F findings, S scales (ascending by size).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from cxrserve.bundle.calibration import Calibration, logit
from cxrserve.ensemble.stack import sigmoid, stacked, voted
from cxrserve.findings import INDEX, NAMES
from training.cache import PyramidCache
from training.fit.scores import over_views
from training.networks.base import MapNetwork
from training.recipes.config import SampleUnit
from training.steps.fit import Fit, fit_stamps
from training.steps.fit_stack import fit_stack, loss_of
from training.steps.networks import fitted_network
from training.steps.prepare import data_inputs, open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial
from training.steps.step import Done, label, result_of

Floats = NDArray[np.float64]
LOGITS, WEIGHTS = "validation_logits.npz", "stack.json"
_PIXELS_A_BATCH: Final = 4 * 2048 * 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Stacked:
    """A fitted stack, and the validation data that it was fitted on.

    Attributes:
        weights_FS: float64 [F, S], rows sum to 1.
        logits_NFS, labels_NF: of the validation images, or studies where those are the unit; logits as they
            are stacked, after the calibration of each member.
        slopes_FS, intercepts_FS: that calibration; None where the stack is of the published kind.
    """

    weights_FS: Floats
    logits_NFS: Floats
    labels_NF: NDArray[np.float32]
    slopes_FS: Floats | None = None
    intercepts_FS: Floats | None = None

    def calibration(self, scale: int, data: str) -> dict[str, Calibration]:
        """The calibration of a member by finding, fitted on `data`; none in a stack of the published kind."""
        if self.slopes_FS is None or self.intercepts_FS is None:
            return {}
        table: dict[str, Calibration] = {}
        for name in self.known:
            labels_N = self.labels_NF[:, INDEX[name]]
            table[name] = Calibration(
                slope=float(self.slopes_FS[INDEX[name], scale]),
                intercept=float(self.intercepts_FS[INDEX[name], scale]),
                data=data,
                events=int((labels_N > 0.5).sum()),
                non_events=int((labels_N <= 0.5).sum()),
            )
        return table

    @property
    def known(self) -> tuple[str, ...]:
        """Findings that have a label in the validation data."""
        return tuple(NAMES[index] for index in np.flatnonzero((~np.isnan(self.labels_NF)).any(0)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The step; its result is a `Stacked`."""

    name: str = "stack"
    command: str = "stack"

    def inputs(self, run: Run, trial: Trial) -> dict[str, object]:
        """Everything that the stack of `trial` depends on."""
        return {
            "networks": {str(size): stamp.sha256 for size, stamp in fit_stamps(run, trial).items()},
            "data": data_inputs(run, trial.fold),
            "stack": run.recipe.stack,
        }

    def run(self, run: Run, trial: Trial, folder: Path, progress: Progress) -> Done:
        """Score the validation images with each network and fit the weights."""
        recipe = run.recipe
        images = open_part(run, trial.fold, "validate")
        logits = []
        for size in recipe.preprocessing.sizes:
            network = fitted_network(recipe, size, result_of(Fit(size=size), run, trial))
            batches = progress.track(
                score(network, images, size),
                f"validation at {size}, {trial.label}",
                score_steps(images, size),
            )
            logits.append(np.concatenate(list(batches)))
        logits_NFS, labels_NF = of_units(np.stack(logits, -1), images, recipe.data.sample_unit)
        fit = fit_stack(logits_NFS, labels_NF, recipe.stack)
        if not fit.converged:
            progress.say(
                f"{label(self, trial)}: not converged: a weight still moved by {fit.last_move:.3f} in the "
                "last tenth; set stack.epochs higher"
            )
        stacked_NFS = fit.slopes_FS * logits_NFS + fit.intercepts_FS
        summary = {
            **compared(stacked_NFS, labels_NF, fit.weights_FS, recipe.preprocessing.sizes, fit.map_F2),
            "converged": fit.converged,
            "last_move": round(fit.last_move, 6),
            "epochs": recipe.stack.epochs,
        }
        tables = {"weights": _by_size(fit.weights_FS, recipe.preprocessing.sizes)}
        if recipe.stack.kind == "calibrated":
            tables["slopes"] = _by_size(fit.slopes_FS, recipe.preprocessing.sizes)
            tables["intercepts"] = _by_size(fit.intercepts_FS, recipe.preprocessing.sizes)
        np.savez(folder / LOGITS, logits_NFS=logits_NFS, labels_NF=labels_NF)
        text = json.dumps({**summary, **tables}, indent=1)
        (folder / WEIGHTS).write_text(text + "\n", encoding="utf-8")
        return Done(files=(LOGITS, WEIGHTS), summary=summary)

    def load(self, folder: Path) -> Stacked:
        """Read weights, calibrations, logits and labels."""
        with np.load(folder / LOGITS) as stored:
            logits_NFS, labels_NF = stored["logits_NFS"], stored["labels_NF"]
        tables = json.loads((folder / WEIGHTS).read_text(encoding="utf-8"))
        weights_FS = _array(tables["weights"])
        if "slopes" not in tables:
            return Stacked(weights_FS=weights_FS, logits_NFS=logits_NFS, labels_NF=labels_NF)
        slopes_FS, intercepts_FS = _array(tables["slopes"]), _array(tables["intercepts"])
        return Stacked(
            weights_FS=weights_FS,
            logits_NFS=slopes_FS * logits_NFS + intercepts_FS,
            labels_NF=labels_NF,
            slopes_FS=slopes_FS,
            intercepts_FS=intercepts_FS,
        )


def _by_size(table_FS: Floats, sizes: tuple[int, ...]) -> dict[str, dict[str, float]]:
    return {
        name: dict(zip(map(str, sizes), row, strict=True))
        for name, row in zip(NAMES, table_FS.tolist(), strict=True)
    }


def _array(table: Mapping[str, Mapping[str, float]]) -> Floats:
    return np.array([list(row.values()) for row in table.values()], np.float64)


def compared(
    logits_NFS: Floats,
    labels_NF: NDArray[np.float32],
    weights_FS: Floats,
    sizes: tuple[int, ...],
    map_F2: Floats | None = None,
) -> dict[str, object]:
    """Cross-entropy on the validation images, mean over known labels: of the stack, voting and each scale.

    Args:
        logits_NFS: as they are stacked.
        map_F2: slope and intercept that the logit of the stack's sum gets; None for none.
    """
    stacked_NF = stacked(logits_NFS, weights_FS)
    if map_F2 is not None:
        stacked_NF = sigmoid(map_F2[:, 0] * logit(stacked_NF) + map_F2[:, 1])
    losses = {
        str(size): loss_of(sigmoid(logits_NFS[..., index]), labels_NF) for index, size in enumerate(sizes)
    }
    best = min(losses, key=lambda size: losses[size])
    losses |= {
        "voting": loss_of(voted(logits_NFS), labels_NF),
        "stack": loss_of(stacked_NF, labels_NF),
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
    logits_NFS: Floats, images: PyramidCache, unit: SampleUnit
) -> tuple[Floats, NDArray[np.float32]]:
    """Logits and labels of the units that are scored: images as they are, or studies by their rule."""
    if unit.kind == "images":
        return logits_NFS, images.labels_NF
    _, first, study_N = np.unique(images.study_N, return_index=True, return_inverse=True)
    unit_of_image = torch.from_numpy(study_N)
    scales = [
        over_views(torch.from_numpy(logits_NFS[..., scale].copy()), unit_of_image, len(first), unit).numpy()
        for scale in range(logits_NFS.shape[-1])
    ]
    return np.stack(scales, -1), images.labels_NF[first]
