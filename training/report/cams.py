"""Examples with the Grad-CAM of every scale and of the ensemble, all on one scale of evidence.

Legend: F findings, S side of a level, G side of the finest grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.select import choose
from cxrserve.ensemble import heatmap, stack
from cxrserve.ensemble.bundle import load_bundle
from cxrserve.findings import INDEX, NAMES
from cxrserve.settings import Settings
from training.report.scores import STACK, Scores
from training.samples import Samples


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """One radiograph and one finding.

    Attributes:
        radiograph: uint8 [S, S], the level shown.
        place: uint8 [g, g], 1 where the finding is known to lie; None where nobody knows.
        maps: by column (sizes, then "stack"), float32 [G, G], nats: what that scale would show if it served
            alone, and what the ensemble shows.
        probabilities: by the same columns.
    """

    finding: str
    radiograph: NDArray[np.uint8]
    place: NDArray[np.uint8] | None
    maps: dict[str, NDArray[np.float32]]
    probabilities: dict[str, float]


def choose_examples(scores: Scores, names: Sequence[str], each: int) -> list[tuple[int, int]]:
    """(image, finding) of `each` images with the finding: of middling probability among the true positives.

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
        above = present[probabilities_N[present] >= scores.contract.operating_points[name].threshold]
        pool = above if len(above) else present
        pool = pool[np.argsort(probabilities_N[pool], kind="stable")]
        middle = len(pool) // 2
        first = max(0, min(middle - each // 2, len(pool) - each))
        chosen += [(int(image), finding) for image in pool[first : first + each]]
    return chosen


def explain(
    folder: Path, samples: Samples, chosen: Sequence[tuple[int, int]], shown_side: int
) -> list[Example]:
    """The examples `chosen`, from the members as they are served; members that do not know a finding are
    left out of it."""
    bundle, settings = load_bundle(folder), Settings()
    contract, choice = bundle.contract, choose(settings.engine, settings.precision)
    sizes = contract.preprocessing.sizes
    outputs: dict[int, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    # One member after the other: together they may not fit into memory.
    for size in sizes:
        engine = choice.build(bundle.models[size], size=size, threads=settings.threads)
        made = [
            engine.run(np.ascontiguousarray(samples.level(size)[image])[None, None]) for image, _ in chosen
        ]
        outputs[size] = [(output.logits_NF[0], output.maps_NFhw[0]) for output in made]
    shown = min((size for size in sizes if size >= shown_side), default=sizes[-1])
    weights_FS = np.array(contract.stack)
    examples = []
    for index, (image, finding) in enumerate(chosen):
        logits_FS = np.stack([outputs[size][index][0] for size in sizes], -1)
        grids = {size: outputs[size][index][1][finding] for size in sizes}
        known = [position for position, member in enumerate(contract.members) if member.knows(NAMES[finding])]
        maps, probabilities = {}, {}
        for position in known:
            alone = np.zeros_like(weights_FS)
            alone[finding, position] = 1
            maps[str(sizes[position])] = _ensemble(grids, logits_FS, alone, finding)
            probabilities[str(sizes[position])] = float(stack.sigmoid(logits_FS[finding, position]))
        maps[STACK] = _ensemble(grids, logits_FS, weights_FS, finding)
        probabilities[STACK] = float(stack.stacked(logits_FS[None], weights_FS)[0, finding])
        places = samples.places_NFGG
        examples.append(
            Example(
                finding=NAMES[finding],
                radiograph=np.ascontiguousarray(samples.level(shown)[image]),
                place=None if places is None else np.ascontiguousarray(places[image, finding]),
                maps=maps,
                probabilities=probabilities,
            )
        )
    return examples


def _ensemble(
    grids: dict[int, NDArray[np.float32]],
    logits_FS: NDArray[np.floating],
    weights_FS: NDArray[np.float64],
    finding: int,
) -> NDArray[np.float32]:
    evidence_FS = stack.evidence_weights(logits_FS, weights_FS)
    return heatmap.ensemble_map(grids, dict(zip(grids, evidence_FS[finding].tolist(), strict=True)))
