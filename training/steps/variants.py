"""Variants of an exported bundle: 8-bit integers where nncf is there, and half precision, each gated.

Validation images judge, training images calibrate. What passes is in the contract, and the precision `auto`
serves it; what does not is there with the reason.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cxrserve.bundle.contract import Gate, Member
from cxrserve.settings import Settings
from training.precision.bf16 import MAX_GATE_IMAGES
from training.precision.fp16 import halved
from training.precision.gate import Limits
from training.precision.quantize.images import CALIBRATE, HALVES, Part
from training.steps.prepare import open_part
from training.steps.progress import Progress
from training.steps.run import Run, Trial

LIMITS: Final = Limits()


def with_variants(
    run: Run,
    trial: Trial,
    members: Sequence[Member],
    models: Mapping[int, bytes],
    weights_FS: NDArray[np.float64],
    folder: Path,
    progress: Progress,
) -> list[Member]:
    """`members` with the variants that passed, their files in `folder`."""
    judging = _part(run, trial, "validate", "validation").thinned(MAX_GATE_IMAGES)
    half = judging.thinned(HALVES)
    results = [
        halved(
            folder,
            member,
            models[member.size],
            np.stack(half.images(member.size)),
            half.description,
            half.labels_NF,
        )
        for member in progress.track(members, f"half precision, {trial.label}", len(members))
    ]
    if why := _why_no_integers():
        progress.say(f"no variants in 8-bit integers: {why}")
    else:
        calibrating = _part(run, trial, "train", "training").thinned(CALIBRATE)
        results = _in_integers(results, models, weights_FS, folder, calibrating, judging, progress)
    for member in results:
        progress.say(_sentence(member))
    return results


def _why_no_integers() -> str | None:
    if importlib.util.find_spec("nncf") is None:
        return "nncf is not installed; pip install 'cxrserve[quantize]', then `cxrserve models quantize`"
    from cxrserve.engines.openvino import computes_int8

    if not computes_int8():
        return (
            "this CPU has no instructions for them (VNNI, AMX-INT8); run `cxrserve models quantize` where it "
            "serves"
        )
    return None


def _in_integers(
    members: Sequence[Member],
    models: Mapping[int, bytes],
    weights_FS: NDArray[np.float64],
    folder: Path,
    calibrating: Part,
    judging: Part,
    progress: Progress,
) -> list[Member]:
    from training.precision.quantize.ensemble import admitted
    from training.precision.quantize.integers import Quantizer

    console = Console(quiet=True)  # lines are printed below, not between the bars
    judged = []
    for member in progress.track(members, "8-bit integers", len(members)):
        quantizer = Quantizer(member, models[member.size], calibrating, judging, Settings(), LIMITS, folder)
        judged.append(quantizer.judged(quantizer.make("mixed", console)))
    results, fall = admitted(judged, weights_FS, judging.labels_NF, LIMITS, folder, judging.description)
    if fall is not None:
        progress.say(f"8-bit integers: the ensemble's mean AUC falls by {fall:.4f}")
    return results


def _part(run: Run, trial: Trial, part: str, name: str) -> Part:
    images = open_part(run, trial.fold, "train" if part == "train" else "validate")
    return Part(samples=images, rows=range(len(images)), description=f"{len(images)} {name} images")


def _sentence(member: Member) -> str:
    """In words which precisions of a member passed, with what they change."""
    gates = {"bf16": member.bf16} if member.bf16 else {}
    gates |= {variant.precision: variant.gate for variant in member.variants}
    passed = [_gate(precision, gate) for precision, gate in gates.items()]
    refused = [f"no {precision}: {why}" for precision, why in member.refused.items()]
    return f"{member.size} px: {'; '.join((*passed, *refused)) or 'single precision alone'}"


def _gate(precision: str, gate: Gate) -> str:
    parts = [f"a probability changes by {gate.probability:.4f} at most"]
    if gate.mean_auc is not None:
        parts.append(f"mean AUC falls by {gate.mean_auc:.4f}")
    if gate.speed is not None:
        parts.append(f"{gate.speed:.2f} times as fast")
    return f"{precision} ({', '.join(parts)})"
