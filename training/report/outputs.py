"""Some test images with their labels and the answers of the stack (Xclassifier, Figure 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import NAMES
from training.datasets.samples import Samples
from training.report.scores import STACK, Scores

COUNT: Final = 4
# Side of the image shown, at least.
SIDE: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Output:
    """One image.

    Attributes:
        radiograph: uint8 [S, S].
        labels: findings that are there.
        called: findings that the stack calls at the bundle's operating points, with their probabilities.
        missed: findings that are there and not called, likewise.
    """

    radiograph: NDArray[np.uint8]
    labels: tuple[str, ...]
    called: dict[str, float]
    missed: dict[str, float]


def choose_outputs(scores: Scores, samples: Samples) -> list[Output]:
    """Up to `COUNT` images with a label, drawn at random, always the same ones; `scores` are of images."""
    known = [name for name in NAMES if name not in scores.contract.unavailable]
    columns = [NAMES.index(name) for name in known]
    labelled = np.flatnonzero((scores.labels_NF[:, columns] > 0.5).any(1))
    rows = np.sort(np.random.default_rng(0).permutation(labelled)[:COUNT])
    size = min((size for size in scores.sizes if size >= SIDE), default=scores.sizes[-1])
    probabilities = {name: scores.probabilities(NAMES.index(name))[STACK] for name in known}
    decisions = {name: scores.decided(NAMES.index(name)) for name in known}
    outputs = []
    for row in map(int, rows):
        labels = tuple(name for name in known if scores.labels_NF[row, NAMES.index(name)] > 0.5)
        outputs.append(
            Output(
                radiograph=np.ascontiguousarray(samples.level(size)[row]),
                labels=labels,
                called={name: float(probabilities[name][row]) for name in known if decisions[name][row]},
                missed={name: float(probabilities[name][row]) for name in labels if not decisions[name][row]},
            )
        )
    return outputs


def levels_of(scores: Scores, samples: Samples) -> dict[int, NDArray[np.uint8]]:
    """One image at each size: the first with a label (Chizari, Figure 3)."""
    row = int(np.argmax((scores.labels_NF > 0.5).any(1)))
    return {size: np.ascontiguousarray(samples.level(size)[row]) for size in scores.sizes}
