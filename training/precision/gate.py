"""The precision gate: difference and speed of another precision against single precision.

One gate for all of them: bfloat16 of the same file, half precision, integers. Measured on images that did
not calibrate it, and written into the bundle, where it passed and where it did not.

Legend: N images, F findings, h and w of a member's maps.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Gate
from cxrserve.engines.base import Engine
from cxrserve.ensemble.stack import sigmoid
from cxrserve.reports.ranking import auc

# Both engines run once in turn in each round, so often and so long; the fastest of each counts: noise adds.
ROUNDS: Final = 8
SPEED_S: Final = 4.0
# Other roundings of the same weights: there is nothing to calibrate.
ROUNDED: Final = ("bf16", "fp16")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Limits:
    """Limits of the gate: the largest change of a variant, and the least gain in speed.

    Attributes:
        probability: the largest change of a scale's probability of any finding of any image.
        auc: the largest fall of the mean AUC over findings.
        finding_auc: the largest fall of any finding's. It is wider: on some hundred images a finding that a
            scale hardly sees gains and loses as much by chance (bf16 alone moves one by 0.001).
        maps: the largest change in a map, in standard deviations of the maps. Peaks, which are what a reader
            sees, stand at twenty and more.
        speed: times as fast as the member, at the least; 0 where that does not matter.
    """

    probability: float = 0.1
    auc: float = 0.001
    finding_auc: float = 0.01
    maps: float = 5.0
    speed: float = 1.05


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """Outputs of an engine: float32 `logits_NF` [N, 14] and `maps_NFhw` [N, 14, h, w]."""

    logits_NF: NDArray[np.float32]
    maps_NFhw: NDArray[np.float32]


def answers(engine: Engine, images: Iterable[NDArray[np.uint8]]) -> Answers:
    """Outputs of `engine` for `images`, uint8 [S, S] each."""
    outputs = [engine.run(np.ascontiguousarray(image)[None, None]) for image in images]
    return Answers(
        logits_NF=np.concatenate([output.logits_NF for output in outputs]),
        maps_NFhw=np.concatenate([output.maps_NFhw for output in outputs]),
    )


def speed(member: Engine, variant: Engine, image: NDArray[np.uint8]) -> float:
    """Speed of `variant` relative to `member` on `image`, uint8 [S, S]."""
    best = [np.inf, np.inf]
    rounds, began = 0, time.perf_counter()
    while rounds < ROUNDS or time.perf_counter() - began < SPEED_S:
        rounds += 1
        for index, engine in enumerate((member, variant)):
            started = time.perf_counter()
            engine.run(image[None, None])
            best[index] = min(best[index], time.perf_counter() - started)
    return best[0] / best[1]


def measure(
    member: Answers,
    variant: Answers,
    labels_NF: NDArray[np.float32] | None,
    limits: Limits,
    *,
    known: Sequence[int],
    faster: float | None,
    data: str,
    engine: str,
) -> Gate:
    """The difference between what the member and its variant said, as the bundle records it.

    Args:
        labels_NF: float32 [N, 14], NaN where nothing is known; without any, no AUC is measured.
        known: the findings that the member judges; what it says of others is never used.
        faster: from `speed`; None where that was not measured.
        data, engine: in words.

    Raises:
        ValueError: an answer is no number.
    """
    known = list(known)
    before_NF, after_NF = member.logits_NF[:, known], variant.logits_NF[:, known]
    before_maps, after_maps = member.maps_NFhw[:, known], variant.maps_NFhw[:, known]
    if not (np.isfinite(after_NF).all() and np.isfinite(after_maps).all()):
        raise ValueError("it answers with what is no number")
    falls = [] if labels_NF is None else auc_falls(before_NF, after_NF, labels_NF[:, known])
    changed_NF = np.abs(sigmoid(after_NF) - sigmoid(before_NF))
    return Gate(
        logits=round(float(np.abs(after_NF - before_NF).max()), 5),
        maps=round(float(np.abs(after_maps - before_maps).max() / before_maps.std()), 5),
        probability=round(float(changed_NF.max()), 5),
        auc=max(falls) if falls else None,
        mean_auc=round(float(np.mean(falls)), 5) if falls else None,
        speed=None if faster is None else round(faster, 2),
        tolerance=limits.probability,
        data=data,
        images=len(member.logits_NF),
        engine=engine,
    )


def auc_falls(
    before_NF: NDArray[np.floating], after_NF: NDArray[np.floating], labels_NF: NDArray[np.float32]
) -> list[float]:
    """Fall of each finding's AUC, where it has both classes."""
    falls: list[float] = []
    for finding in range(labels_NF.shape[1]):
        known_N = ~np.isnan(labels_NF[:, finding])
        labels_N = labels_NF[known_N, finding]
        before = auc(before_NF[known_N, finding], labels_N)
        after = auc(after_NF[known_N, finding], labels_N)
        if before is not None and after is not None:
            falls.append(round(before - after, 5))
    return falls


def why_refused(gate: Gate, limits: Limits) -> str | None:
    """In words what keeps a variant from serving; None where it may."""
    if gate.probability > limits.probability:
        return f"a probability changes by {gate.probability:.4f}, more than {limits.probability:g}"
    if gate.mean_auc is not None and gate.mean_auc > limits.auc:
        return f"the mean AUC falls by {gate.mean_auc:.4f}, more than {limits.auc:g}"
    if gate.auc is not None and gate.auc > limits.finding_auc:
        return f"the AUC of a finding falls by {gate.auc:.4f}, more than {limits.finding_auc:g}"
    if gate.maps > limits.maps:
        return f"a map changes by {gate.maps:.2f} of its standard deviations, more than {limits.maps:g}"
    if gate.speed is not None and gate.speed < limits.speed:
        return f"it is {gate.speed:.2f} times as fast, less than {limits.speed:g}"
    return None
