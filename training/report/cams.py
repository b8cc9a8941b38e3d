"""Examples with the Grad-CAM of every scale and of the ensemble, all on one scale of evidence.

Legend: F findings, S side of a level, G side of the finest grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines.select import choose
from cxrserve.ensemble import heatmap, stack
from cxrserve.ensemble.predictor import member_calibrations
from cxrserve.findings import INDEX, NAMES
from cxrserve.settings import Settings
from training.datasets.samples import Samples
from training.report.scores import STACK, Scores


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """One radiograph and one finding.

    Attributes:
        radiograph: uint8 [S, S], the level shown.
        location: uint8 [g, g], 1 where the finding is known to lie; None where nobody knows.
        maps: by column (sizes, then "stack"), float32 [G, G], nats: what that scale would show if it served
            alone, and what the ensemble shows.
        probabilities: by the same columns.
    """

    finding: str
    radiograph: NDArray[np.uint8]
    location: NDArray[np.uint8] | None
    maps: dict[str, NDArray[np.float32]]
    probabilities: dict[str, float]


def choose_examples(scores: Scores, names: Sequence[str], per_finding: int) -> list[tuple[int, int]]:
    """(image, finding) of `per_finding` true positives of each finding, those of middling probability.

    The middle of those at or above the operating point, so that neither the showpiece nor the failure is
    taken for the rule; of all with the finding where none is above.
    """
    chosen: list[tuple[int, int]] = []
    for name in names:
        finding = INDEX[name]
        if name in scores.contract.unavailable:
            continue
        probabilities_N = scores.probabilities(finding)[STACK]
        present = np.flatnonzero(scores.labels_NF[:, finding] > 0.5)
        above = present[probabilities_N[present] >= scores.threshold(finding)]
        pool = above if len(above) else present
        pool = pool[np.argsort(probabilities_N[pool], kind="stable")]
        middle = len(pool) // 2
        first = max(0, min(middle - per_finding // 2, len(pool) - per_finding))
        chosen += [(int(image), finding) for image in pool[first : first + per_finding]]
    return chosen


def explain(
    folder: Path, samples: Samples, chosen: Sequence[tuple[int, int]], shown_side: int
) -> list[Example]:
    """The examples `chosen`, from the members as they are served, if they know the finding."""
    bundle, settings = load_bundle(folder), Settings()
    contract, choice = bundle.contract, choose(settings.engine, settings.precision)
    sizes = contract.preprocessing.sizes
    outputs: dict[int, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    # One member after the other: together they may not fit into memory.
    for size in sizes:
        engine = choice.build(bundle.models[size], size=size, threads=settings.threads)
        engine_outputs = [
            engine.run(np.ascontiguousarray(samples.level(size)[image])[None, None]) for image, _ in chosen
        ]
        outputs[size] = [(output.logits_NF[0], output.maps_NFhw[0]) for output in engine_outputs]
    shown = min((size for size in sizes if size >= shown_side), default=sizes[-1])
    weights_FS = np.array(contract.stack)
    slopes_FS, intercepts_FS = member_calibrations(contract.members)
    examples = []
    for index, (image, finding) in enumerate(chosen):
        logits_FS = slopes_FS * np.stack([outputs[size][index][0] for size in sizes], -1) + intercepts_FS
        grids = {size: outputs[size][index][1][finding] for size in sizes}
        known = [
            position for position, member in enumerate(contract.members) if member.supports(NAMES[finding])
        ]
        maps, probabilities = {}, {}
        for position in known:
            single_FS = np.zeros_like(weights_FS)
            single_FS[finding, position] = 1
            maps[str(sizes[position])] = _ensemble(grids, logits_FS, single_FS, slopes_FS, finding)
            probabilities[str(sizes[position])] = float(stack.sigmoid(logits_FS[finding, position]))
        maps[STACK] = _ensemble(grids, logits_FS, weights_FS, slopes_FS, finding)
        score = stack.stacked(logits_FS[None], weights_FS)[0, finding]
        probabilities[STACK] = float(contract.calibration_of(NAMES[finding]).apply(score))
        locations = samples.locations_NFGG
        examples.append(
            Example(
                finding=NAMES[finding],
                radiograph=np.ascontiguousarray(samples.level(shown)[image]),
                location=None if locations is None else np.ascontiguousarray(locations[image, finding]),
                maps=maps,
                probabilities=probabilities,
            )
        )
    return examples


def _ensemble(
    grids: dict[int, NDArray[np.float32]],
    logits_FS: NDArray[np.floating],
    weights_FS: NDArray[np.float64],
    slopes_FS: NDArray[np.float64],
    finding: int,
) -> NDArray[np.float32]:
    evidence_FS = stack.evidence_weights(logits_FS, weights_FS) * slopes_FS
    return heatmap.ensemble_map(grids, dict(zip(grids, evidence_FS[finding].tolist(), strict=True)))
